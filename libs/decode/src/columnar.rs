use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StructArray, UInt32Array, make_array,
    new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Fields, Schema};
use forebay_recipe::{Column, ColumnType, Layout, ObjectPlan, Target, UnknownFields};
use forebay_types::{Reason, Reject};

use crate::column::ColumnBuilder;
use crate::decoder::{Decoded, Decoder};
use crate::fault::Fault;
use crate::value;

/// A columnar input whose schema does not fit the recipe: none of its rows could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file's schema does not fit the recipe: {0}")]
pub struct ColumnarMismatch(String);

impl ColumnarMismatch {
    /// Checks a file's schema against a layout, before any of its rows is read.
    pub fn check(layout: &Layout, schema: &Schema) -> Result<(), Self> {
        let fields = layout.fields().map_err(|why| Self(why.to_owned()))?;
        let found = check_fields(layout, fields, schema.fields(), "")?;
        if found == 0 {
            return Err(Self("none of its columns is one of the recipe's".to_owned()));
        }
        Ok(())
    }
}

fn check_fields(layout: &Layout, plan: &ObjectPlan, fields: &Fields, path: &str) -> Result<usize, ColumnarMismatch> {
    let fail = |name: &str, what: String| Err(ColumnarMismatch(format!("{path}{name}: {what}")));
    if layout.unknown != UnknownFields::Ignore
        && let Some(unknown) = fields.iter().find(|field| plan.fields.iter().all(|known| known.name != *field.name()))
    {
        return fail(
            unknown.name(),
            "the recipe does not name this column, and unknown columns of columnar files can't be kept; name it, or \
             use unknown_fields: ignore"
                .to_owned(),
        );
    }
    let mut found = 0;
    for field in &plan.fields {
        let Some((_, input)) = fields.find(&field.name) else {
            if field.required {
                return fail(&field.name, "a required column is missing".to_owned());
            }
            continue;
        };
        found += 1;
        let data_type = plain(input.data_type());
        match (&field.target, data_type) {
            (Target::Column(column), _) => {
                let column = &layout.tables[plan.table].columns[*column];
                if !column.withheld && !readable(&column.kind, data_type) {
                    return fail(&field.name, format!("is {data_type}, which can't be read as {:?}", column.kind));
                }
            }
            (Target::Object(inner), DataType::Struct(fields)) => {
                check_fields(layout, inner, fields, &format!("{path}{}.", field.name))?;
            }
            (Target::List(inner), DataType::List(element) | DataType::LargeList(element)) => {
                let DataType::Struct(fields) = element.data_type() else {
                    return fail(&field.name, format!("is {data_type}, not a list of structs"));
                };
                check_fields(layout, inner, fields, &format!("{path}{}.", field.name))?;
            }
            (Target::Nowhere, _) => {}
            (Target::Object(_), _) => return fail(&field.name, format!("is {data_type}, not a struct")),
            (Target::List(_), _) => return fail(&field.name, format!("is {data_type}, not a list of structs")),
        }
    }
    Ok(found)
}

fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

/// Which types may stand for which: nothing that would lose digits or guess.
fn readable(kind: &ColumnType, data_type: &DataType) -> bool {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
    match kind {
        ColumnType::String | ColumnType::Json => text,
        ColumnType::Int64 | ColumnType::Int32 => data_type.is_integer() || data_type.is_null(),
        ColumnType::Float64 => data_type.is_integer() || data_type.is_floating() || data_type.is_null(),
        ColumnType::Decimal(..) => {
            text || data_type.is_integer() || matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
        }
        ColumnType::Bool => matches!(data_type, DataType::Boolean | DataType::Null),
        ColumnType::Date(_) => text || matches!(data_type, DataType::Date32 | DataType::Date64),
        ColumnType::Timestamp => {
            text || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
        }
        ColumnType::Spans => false,
    }
}

/// One batch of a columnar file on its way into the tables.
struct Columnar<'a> {
    layout: &'a Layout,
    /// For every table its columns, then for every row the parent's row and the record.
    tables: Vec<Parts>,
    /// For every record, what is wrong with it.
    faults: Vec<Option<Box<Fault>>>,
}

#[derive(Default)]
struct Parts {
    arrays: Vec<Option<ArrayRef>>,
    parents: Vec<u32>,
    records: Vec<u32>,
}

impl Decoder {
    /// Decodes a batch of a columnar file, whose schema was checked before.
    pub fn decode_batch(&mut self, batch: &RecordBatch) -> Result<Decoded, ArrowError> {
        let layout = Arc::clone(&self.layout);
        let rows = batch.num_rows();
        let fields = layout.fields().map_err(|why| ArrowError::SchemaError(why.to_owned()))?;
        let mut columnar = Columnar {
            layout: &layout,
            tables: layout
                .tables
                .iter()
                .map(|table| Parts { arrays: vec![None; table.columns.len()], ..Parts::default() })
                .collect(),
            faults: std::iter::repeat_with(|| None).take(rows).collect(),
        };
        columnar.tables[0].parents = (0..rows as u32).collect();
        columnar.tables[0].records = (0..rows as u32).collect();
        let root = StructArray::from(batch.clone());
        columnar.object(fields, Some(&root), "")?;
        let (batches, parents) = columnar.finish()?;
        let mut rejects = Vec::new();
        for (row, fault) in columnar.faults.into_iter().enumerate() {
            if let Some(fault) = fault {
                rejects.push(Reject {
                    reason: fault.reason,
                    path: fault.path(),
                    message: fault.into_message(),
                    record: self.at.record + row as u64,
                    offset: self.at.offset + row as u64,
                    length: 0,
                    raw: None,
                });
            }
        }
        self.at.record += rows as u64;
        self.at.offset += rows as u64;
        Ok(Decoded { batches, parents, rejects, records: rows as u64, ignored: 0 })
    }
}

impl Columnar<'_> {
    /// Puts the fields of a struct, or nulls for a missing one, into the columns of its table.
    fn object(&mut self, plan: &ObjectPlan, input: Option<&StructArray>, path: &str) -> Result<(), ArrowError> {
        let rows = self.tables[plan.table].parents.len();
        for field in &plan.fields {
            let child = input.and_then(|input| input.column_by_name(&field.name).map(|c| masked(c, input.nulls())));
            let child = child.transpose()?;
            let path = format!("{path}{}", field.name);
            match &field.target {
                Target::Column(column) => {
                    let plan_column = &self.layout.tables[plan.table].columns[*column];
                    let absent = new_null_array(&plan_column.kind.data_type(), rows);
                    let array = match child {
                        Some(child) if plan_column.withheld => {
                            self.require(plan.table, plan_column.rules.required, &child, &path);
                            absent
                        }
                        Some(child) => self.column(plan.table, plan_column, child, &path)?,
                        None => absent,
                    };
                    self.tables[plan.table].arrays[*column] = Some(array);
                }
                Target::Nowhere => {}
                Target::Object(inner) => {
                    if let Some(child) = &child {
                        self.require(plan.table, field.required, child, &path);
                    }
                    self.object(inner, child.as_ref().and_then(|c| c.as_struct_opt()), &format!("{path}."))?;
                }
                Target::List(inner) => {
                    if let Some(child) = &child {
                        self.require(plan.table, field.required, child, &path);
                    }
                    self.list(inner, plan.table, child, &path)?;
                }
            }
        }
        if let Some(unknown) = self.layout.tables[plan.table].unknown {
            self.tables[plan.table].arrays[unknown] = Some(new_null_array(&DataType::Utf8, rows));
        }
        Ok(())
    }

    fn list(
        &mut self,
        plan: &ObjectPlan,
        parent: usize,
        child: Option<ArrayRef>,
        path: &str,
    ) -> Result<(), ArrowError> {
        let (mut parents, mut records, mut elements) = (Vec::new(), Vec::new(), Vec::new());
        let mut values = None;
        if let Some(child) = child {
            let list = match child.data_type() {
                DataType::LargeList(element) => {
                    cast_with_options(&child, &DataType::List(Arc::clone(element)), &CastOptions::default())?
                }
                _ => child,
            };
            let list = list.as_list::<i32>();
            for row in 0..list.len() {
                if list.is_valid(row) {
                    for element in list.value_offsets()[row]..list.value_offsets()[row + 1] {
                        parents.push(row as u32);
                        records.push(self.tables[parent].records[row]);
                        elements.push(element as u32);
                    }
                }
            }
            values = Some(arrow_select::take::take(list.values(), &UInt32Array::from(elements), None)?);
        }
        self.tables[plan.table].parents = parents;
        self.tables[plan.table].records = records;
        if let Some(values) = &values {
            self.require(plan.table, true, values, path);
        }
        self.object(plan, values.as_ref().and_then(|v| v.as_struct_opt()), &format!("{path}."))
    }

    fn fault(&mut self, table: usize, row: usize, path: &str, fault: Box<Fault>) {
        let record = self.tables[table].records[row] as usize;
        if self.faults[record].is_none() {
            self.faults[record] = Some(fault.in_field(path));
        }
    }

    fn require(&mut self, table: usize, required: bool, array: &ArrayRef, path: &str) {
        if required && array.null_count() > 0 {
            for row in 0..array.len() {
                if array.is_null(row) {
                    self.fault(table, row, path, Fault::new(Reason::MissingField, "is required but is null"));
                }
            }
        }
    }

    fn column(&mut self, table: usize, plan: &Column, input: ArrayRef, path: &str) -> Result<ArrayRef, ArrowError> {
        self.require(table, plan.rules.required, &input, path);
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let text = matches!(plain(input.data_type()), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if text {
            let input = cast_with_options(&input, &DataType::Utf8, &options)?;
            if plan.kind == ColumnType::String && plan.text_is_plain() {
                return Ok(input);
            }
            return self.texts(table, plan, &input, path);
        }
        let array = cast_with_options(&input, &plan.kind.data_type(), &options)?;
        for row in 0..array.len() {
            if array.is_null(row) && input.is_valid(row) {
                let what = format!("does not fit into {}", plan.kind.data_type());
                self.fault(table, row, path, Fault::new(Reason::OutOfRange, what));
            }
        }
        self.bounds(table, plan, &array, path);
        Ok(array)
    }

    /// Texts into a column of another type, or one with rules, value by value.
    fn texts(&mut self, table: usize, plan: &Column, input: &ArrayRef, path: &str) -> Result<ArrayRef, ArrowError> {
        let mut builder = ColumnBuilder::new(&plan.kind, false);
        for (row, text) in input.as_string::<i32>().iter().enumerate() {
            let pushed = match text {
                None => {
                    builder.push_null();
                    Ok(())
                }
                Some(text) if plan.kind == ColumnType::Json => {
                    value::push_json(&mut builder, &plan.rules, text, self.layout.depth_limit)
                }
                Some(text) => value::push_text(&mut builder, plan, text),
            };
            if let Err(fault) = pushed {
                builder.truncate(row);
                builder.push_null();
                self.fault(table, row, path, fault);
            }
        }
        builder.finish()
    }

    /// Checks numbers against the rules, and floats for being finite.
    fn bounds(&mut self, table: usize, plan: &Column, array: &ArrayRef, path: &str) {
        let float = plan.kind == ColumnType::Float64;
        if !float && plan.rules.min.is_none() && plan.rules.max.is_none() {
            return;
        }
        for row in 0..array.len() {
            if array.is_null(row) {
                continue;
            }
            let value = match &plan.kind {
                ColumnType::Int64 => array.as_primitive::<Int64Type>().value(row) as f64,
                ColumnType::Int32 => f64::from(array.as_primitive::<Int32Type>().value(row)),
                ColumnType::Float64 => array.as_primitive::<Float64Type>().value(row),
                ColumnType::Decimal(_, scale) => {
                    array.as_primitive::<Decimal128Type>().value(row) as f64 / 10f64.powi(i32::from(*scale))
                }
                ColumnType::Date(_) => f64::from(array.as_primitive::<Date32Type>().value(row)),
                ColumnType::Timestamp => array.as_primitive::<TimestampMicrosecondType>().value(row) as f64,
                ColumnType::String | ColumnType::Json | ColumnType::Bool | ColumnType::Spans => return,
            };
            let checked = if float { value::check_float(value, &plan.rules) } else { value::check(value, &plan.rules) };
            if let Err(fault) = checked {
                self.fault(table, row, path, fault);
            }
        }
    }

    /// The tables' batches, without the rows of records that are wrong, and the parents of their rows.
    fn finish(&mut self) -> Result<(Vec<RecordBatch>, Vec<UInt32Array>), ArrowError> {
        let mut batches: Vec<RecordBatch> = Vec::with_capacity(self.tables.len());
        let mut all_parents = Vec::with_capacity(self.tables.len());
        for (index, plan) in self.layout.tables.iter().enumerate() {
            let parts = std::mem::take(&mut self.tables[index]);
            let rows = parts.parents.len();
            let parents = UInt32Array::from(parts.parents);
            let mut arrays = Vec::with_capacity(plan.columns.len());
            for (column, array) in plan.columns.iter().zip(parts.arrays) {
                arrays.push(match (array, column.inherited, plan.parent) {
                    (_, Some(source), Some(parent)) => {
                        let known = self.layout.tables[parent]
                            .columns
                            .iter()
                            .enumerate()
                            .position(|(i, known)| (parent, i) == source || known.inherited == Some(source));
                        arrow_select::take::take(batches[parent].column(known.unwrap_or(source.1)), &parents, None)?
                    }
                    (Some(array), ..) => array,
                    (None, ..) => new_null_array(&column.kind.data_type(), rows),
                });
            }
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            batches.push(RecordBatch::try_new_with_options(plan.schema(), arrays, &options)?);
            all_parents.push(parents);
            self.tables[index].records = parts.records;
        }
        if self.faults.iter().any(Option::is_some) {
            self.drop_wrong(&mut batches, &mut all_parents)?;
        }
        Ok((batches, all_parents))
    }

    /// Takes out the rows of records that are wrong; whose parent has moved up by that is told where it is now.
    fn drop_wrong(&self, batches: &mut [RecordBatch], parents: &mut [UInt32Array]) -> Result<(), ArrowError> {
        let mut places: Vec<Vec<u32>> = Vec::with_capacity(batches.len());
        for (index, parts) in self.tables.iter().enumerate() {
            let keep: Vec<bool> = parts.records.iter().map(|&record| self.faults[record as usize].is_none()).collect();
            let above = self.layout.tables[index].parent.map(|parent| &places[parent]);
            let kept = keep.iter().zip(parents[index].values()).filter(|(keep, _)| **keep);
            parents[index] = kept.map(|(_, &parent)| above.map_or(parent, |places| places[parent as usize])).collect();
            places.push(
                keep.iter()
                    .scan(0, |next, &keep| {
                        let place = *next;
                        *next += u32::from(keep);
                        Some(place)
                    })
                    .collect(),
            );
            batches[index] = arrow_select::filter::filter_record_batch(&batches[index], &BooleanArray::from(keep))?;
        }
        Ok(())
    }
}

/// A struct's child with the struct's own nulls: below a null struct a child may hold anything.
fn masked(child: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return Ok(Arc::clone(child)) };
    let union = NullBuffer::union(Some(nulls), child.logical_nulls().as_ref());
    if child.data_type().is_null() {
        return Ok(Arc::clone(child));
    }
    Ok(make_array(child.to_data().into_builder().nulls(union).build()?))
}
