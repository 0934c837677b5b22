//! Tensors of a `model.safetensors` file, one at a time. Source of the format: <https://huggingface.co/docs/safetensors>.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::{Array1, Array2};
use serde::Deserialize;

use crate::NerError;

/// Longest header that is read.
const HEADER: u64 = 16 << 20;

/// Bytes of a tensor that are read at once.
const PART: usize = 1 << 20;

/// How a tensor's numbers are stored. They become 32-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F32,
    F16,
    Bf16,
}

#[derive(Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The tensors of a file, by name. None is in memory yet.
#[derive(Debug)]
pub(crate) struct Tensors {
    path: PathBuf,
    file: File,
    entries: HashMap<String, Entry>,
    /// Where the numbers begin.
    data: u64,
}

impl Tensors {
    pub(crate) fn open(path: &Path) -> Result<Self, NerError> {
        let unreadable = |error| NerError::Unreadable { path: path.to_owned(), error };
        let mut file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| NerError::bad(path, "is no safetensors file: it is too short"))?;
        let length = u64::from_le_bytes(length);
        if length > HEADER || length > size.saturating_sub(8) {
            return Err(NerError::bad(path, "is no safetensors file, or is cut off: its header does not fit"));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let header: HashMap<String, serde_json::Value> = serde_json::from_slice(&header)
            .map_err(|error| NerError::bad(path, format!("is no safetensors file: its header is broken: {error}")))?;
        let data = 8 + length;
        let mut entries = HashMap::with_capacity(header.len());
        for (name, value) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
            let entry: Entry = serde_json::from_value(value)
                .map_err(|error| NerError::bad(path, format!("the header's {name} is broken: {error}")))?;
            if entry.data_offsets.0 > entry.data_offsets.1 || entry.data_offsets.1 > size - data {
                return Err(NerError::bad(
                    path,
                    format!("is cut off: {name} ends behind the file's end; copy it anew"),
                ));
            }
            entries.insert(name, entry);
        }
        Ok(Self { path: path.to_owned(), file, entries, data })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn bad(&self, message: String) -> NerError {
        NerError::bad(&self.path, message)
    }

    /// Checks that a tensor is there, in the shape that the configuration says.
    fn entry(&self, name: &str, shape: &[usize]) -> Result<(Kind, u64), NerError> {
        let entry = self.entries.get(name).ok_or_else(|| {
            self.bad(format!("has no tensor {name}: it is no token classification model of config.json's form"))
        })?;
        if entry.shape != shape {
            return Err(self.bad(format!("{name} has the shape {:?}, and config.json says {shape:?}", entry.shape)));
        }
        let (kind, width) = match entry.dtype.as_str() {
            "F32" => (Kind::F32, 4),
            "F16" => (Kind::F16, 2),
            "BF16" => (Kind::Bf16, 2),
            other => return Err(self.bad(format!("{name} is stored as {other}; F32, F16 and BF16 are read"))),
        };
        let numbers = shape.iter().try_fold(width, |all: u64, side| all.checked_mul(*side as u64));
        if numbers != Some(entry.data_offsets.1 - entry.data_offsets.0) {
            return Err(self.bad(format!("{name} has not as many bytes as its shape needs")));
        }
        Ok((kind, entry.data_offsets.0))
    }

    fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, NerError> {
        let (kind, begin) = self.entry(name, shape)?;
        let count: usize = shape.iter().product();
        let width = if kind == Kind::F32 { 4 } else { 2 };
        let path = self.path.clone();
        let unreadable = |error| NerError::Unreadable { path: path.clone(), error };
        self.file.seek(SeekFrom::Start(self.data + begin)).map_err(unreadable)?;
        let mut numbers: Vec<f32> = Vec::with_capacity(count);
        let mut part = vec![0; PART.min(count * width)];
        while numbers.len() < count {
            let bytes = PART.min((count - numbers.len()) * width);
            let part = &mut part[..bytes];
            self.file.read_exact(part).map_err(unreadable)?;
            match kind {
                Kind::F32 => numbers.extend(part.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
                Kind::F16 => numbers.extend(part.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
                Kind::Bf16 => {
                    numbers.extend(part.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
                }
            }
        }
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(self.bad(format!("{name} holds what is no number; the file is broken, copy it anew")));
        }
        Ok(numbers)
    }
}

/// Where an encoder's tensors come from: a file, or only the check that they are there.
pub(crate) trait Source {
    fn has(&self, name: &str) -> bool;
    fn vector(&mut self, name: &str, length: usize) -> Result<Array1<f32>, NerError>;
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, NerError>;
}

impl Source for Tensors {
    fn has(&self, name: &str) -> bool {
        Self::has(self, name)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Array1<f32>, NerError> {
        Ok(Array1::from_vec(self.numbers(name, &[length])?))
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, NerError> {
        let numbers = self.numbers(name, &[rows, columns])?;
        Array2::from_shape_vec((rows, columns), numbers).map_err(|error| self.bad(format!("{name}: {error}")))
    }
}

/// Counts what would be loaded, and loads nothing.
#[derive(Debug)]
pub(crate) struct Counted<'a> {
    tensors: &'a Tensors,
    /// Bytes in memory, as 32-bit floats.
    pub(crate) bytes: u64,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(tensors: &'a Tensors) -> Self {
        Self { tensors, bytes: 0 }
    }
}

impl Source for Counted<'_> {
    fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Array1<f32>, NerError> {
        self.tensors.entry(name, &[length])?;
        self.bytes += 4 * length as u64;
        Ok(Array1::zeros(0))
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, NerError> {
        self.tensors.entry(name, &[rows, columns])?;
        self.bytes += 4 * (rows as u64) * (columns as u64);
        Ok(Array2::zeros((0, 0)))
    }
}
