use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use forebay_recipe::{ColumnType, Layout};

use crate::column::ColumnBuilder;

/// The tables of a layout while records are decoded into them.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) tables: Vec<TableBuilder>,
    layout: Arc<Layout>,
}

#[derive(Debug)]
pub(crate) struct TableBuilder {
    pub(crate) columns: Vec<ColumnBuilder>,
    /// For every row, the row of the parent's table that it belongs to, or its record's place in the batch. Its length
    /// is the number of rows begun.
    pub(crate) parents: Vec<u32>,
    /// Rows that were there when the current record began.
    mark: usize,
    schema: SchemaRef,
}

impl Tables {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        let tables = layout
            .tables
            .iter()
            .map(|table| TableBuilder {
                columns: table
                    .columns
                    .iter()
                    .map(|column| ColumnBuilder::new(&column.kind, column.withheld || column.inherited.is_some()))
                    .collect(),
                parents: Vec::new(),
                mark: 0,
                schema: table.schema(),
            })
            .collect();
        Self { tables, layout }
    }

    /// Remembers where the next record begins.
    #[inline]
    pub(crate) fn begin_record(&mut self) {
        for table in &mut self.tables {
            table.mark = table.parents.len();
        }
    }

    /// Takes back whatever of the current record is there.
    #[cold]
    pub(crate) fn roll_back(&mut self) {
        for table in &mut self.tables {
            let mark = table.mark;
            table.parents.truncate(mark);
            for column in &mut table.columns {
                // Also where no value was finished: a text may have been begun.
                column.truncate(mark);
            }
        }
    }

    /// Begins a row of a table, and returns its number.
    #[inline]
    pub(crate) fn begin_row(&mut self, table: usize, parent: u32) -> u32 {
        let parents = &mut self.tables[table].parents;
        parents.push(parent);
        (parents.len() - 1) as u32
    }

    /// Rows of the longest table.
    pub(crate) fn longest(&self) -> usize {
        self.tables.iter().map(|table| table.parents.len()).max().unwrap_or(0)
    }

    /// Bytes of text held in all columns.
    pub(crate) fn text_bytes(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.columns).map(ColumnBuilder::text_bytes).sum()
    }

    /// The batches of everything decoded so far, one a table, in the layout's order, and the parents of their rows.
    /// Parents' keys are taken from the parent's columns by row number: a child never copies a key while it is decoded.
    pub(crate) fn finish(&mut self) -> Result<(Vec<RecordBatch>, Vec<UInt32Array>), ArrowError> {
        let mut batches: Vec<RecordBatch> = Vec::with_capacity(self.tables.len());
        let mut all_parents = Vec::with_capacity(self.tables.len());
        for (index, builder) in self.tables.iter_mut().enumerate() {
            let plan = &self.layout.tables[index];
            let rows = builder.parents.len();
            let room = builder.parents.len();
            let parents = UInt32Array::from(std::mem::replace(&mut builder.parents, Vec::with_capacity(room)));
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(plan.columns.len());
            for (column, builder) in plan.columns.iter().zip(&mut builder.columns) {
                let own = match column.inherited {
                    // No input has them: they come when the text is redacted.
                    None if column.kind == ColumnType::Spans => {
                        builder.truncate(0);
                        new_null_array(&column.kind.data_type(), rows)
                    }
                    None => builder.finish()?,
                    Some(source) => {
                        builder.truncate(0);
                        let parent = plan.parent.unwrap_or(0);
                        let position = self.layout.tables[parent]
                            .columns
                            .iter()
                            .enumerate()
                            .position(|(i, known)| (parent, i) == source || known.inherited == Some(source));
                        let keys = batches[parent].column(position.unwrap_or(source.1));
                        arrow_select::take::take(keys, &parents, None)?
                    }
                };
                arrays.push(own);
            }
            builder.mark = 0;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            batches.push(RecordBatch::try_new_with_options(Arc::clone(&builder.schema), arrays, &options)?);
            all_parents.push(parents);
        }
        Ok((batches, all_parents))
    }
}
