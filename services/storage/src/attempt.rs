use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::RecordBatch;
use forebay_budget::{Pool, Reservation};
use forebay_lake::{EncodedRowGroup, Encoding, Pages, allocated_bytes, encode};

use crate::error::Failure;

/// Rows of one table that wait, with what of the budget they use.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) reservations: Vec<Reservation>,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Row groups that were encoded early, because the budget was full: their pages are on disk.
    pub(crate) encoded: Vec<EncodedRowGroup>,
}

/// Rows of an attempt that is not complete yet. They are in no file: if the attempt fails, dropping this is all
/// there is to do.
#[derive(Debug, Default)]
pub(crate) struct AttemptBuffer {
    pub(crate) tables: BTreeMap<String, Held>,
}

impl Held {
    pub(crate) fn push(&mut self, batch: RecordBatch, reservation: Reservation) {
        self.rows += batch.num_rows() as u64;
        self.bytes += reservation.bytes();
        self.batches.push(batch);
        self.reservations.push(reservation);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.batches.append(&mut other.batches);
        self.reservations.append(&mut other.reservations);
        self.encoded.append(&mut other.encoded);
        self.bytes += other.bytes;
        self.rows += other.rows;
    }
}

impl AttemptBuffer {
    /// Takes a batch. Where the budget has no room, the attempt first moves what it holds to disk, encoded: it never
    /// waits for others while it keeps them waiting.
    pub(crate) async fn push(
        &mut self,
        table: &str,
        batch: RecordBatch,
        pool: &Pool,
        spill: &Path,
    ) -> Result<(), Failure> {
        let size = allocated_bytes(&batch);
        if size > pool.capacity() {
            // One record can be that large. It is cut in rows; a single row has to fit.
            if batch.num_rows() > 1 {
                let half = batch.num_rows() / 2;
                let rest = batch.slice(half, batch.num_rows() - half);
                Box::pin(self.push(table, compact(&batch.slice(0, half))?, pool, spill)).await?;
                return Box::pin(self.push(table, compact(&rest)?, pool, spill)).await;
            }
        }
        let reservation = match pool.try_reserve(size) {
            Ok(reservation) => reservation,
            Err(_) => {
                self.spill(spill).await?;
                pool.reserve(size).await.map_err(|error| Failure::Internal(error.to_string()))?
            }
        };
        self.tables.entry(table.to_owned()).or_default().push(batch, reservation);
        Ok(())
    }

    /// Encodes everything that is held to disk.
    async fn spill(&mut self, folder: &Path) -> Result<(), Failure> {
        for held in self.tables.values_mut() {
            if held.rows == 0 || held.batches.is_empty() {
                continue;
            }
            let batches = std::mem::take(&mut held.batches);
            let pages = Pages::Disk(folder.to_owned());
            let group = forebay_runtime::blocking(move || {
                let sample = batches.iter().max_by_key(|batch| batch.num_rows());
                let encoding = sample.map(Encoding::choose).transpose()?;
                encoding.map(|encoding| encode(&encoding, batches, &pages)).transpose()
            })
            .await??;
            held.encoded.extend(group.filter(|group| group.rows > 0));
            held.reservations.clear();
            held.bytes = 0;
        }
        Ok(())
    }
}

/// A copy of a slice that does not keep the whole alive.
fn compact(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let rows = arrow_array::UInt32Array::from_iter_values(0..batch.num_rows() as u32);
    arrow_select::take::take_record_batch(batch, &rows).map_err(|error| Failure::Internal(error.to_string()))
}
