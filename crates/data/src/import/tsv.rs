//! Reads the TSV files of bottom-up attention line by line; a line has about 400 kB.
//!
//! | | columns |
//! |---|---|
//! | peteanderson80 | image_id, image_w, image_h, num_boxes, boxes, features |
//! | LXMERT | img_id, img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features |
//!
//! There is no header. Arrays are little-endian numbers in base64: boxes n x 4 and features n x F
//! of f32, ids of i64, confidences of f32.

mod numbers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use super::error::{ImageLocation, Problem};
use super::{Dump, DumpImage, name};
use crate::store::{Column, Entry, Size, Source};
use uard_files::FileError;

use crate::{Error, Result};
use numbers::{bytes, features, floats, number, plain};

/// The longest line that is read, in bytes. 100 boxes with 2048 features have 1.1 MB.
const LONGEST_LINE: u64 = 64 << 20;

/// The columns of a format: their number, and the index of each.
#[derive(Debug)]
pub(super) struct Columns {
    columns: usize,
    height: usize,
    width: usize,
    num_boxes: usize,
    extras: &'static [Extra],
    /// The other format, and its number of columns, for the error of a file of that format.
    other: (&'static str, usize),
}

/// A column with a number for each region.
#[derive(Debug)]
struct Extra {
    column: usize,
    published: &'static str,
    stored: &'static str,
    element_type: ExtraType,
}

#[derive(Debug)]
enum ExtraType {
    Integers,
    Reals,
}

pub(super) const BUTD: Columns = Columns {
    columns: 6,
    width: 1,
    height: 2,
    num_boxes: 3,
    extras: &[],
    other: ("lxmert-tsv", 10),
};

pub(super) const LXMERT: Columns = Columns {
    columns: 10,
    height: 1,
    width: 2,
    num_boxes: 7,
    extras: &[
        Extra {
            column: 3,
            published: "objects_id",
            stored: "object_ids",
            element_type: ExtraType::Integers,
        },
        Extra {
            column: 4,
            published: "objects_conf",
            stored: "object_confidences",
            element_type: ExtraType::Reals,
        },
        Extra {
            column: 5,
            published: "attrs_id",
            stored: "attribute_ids",
            element_type: ExtraType::Integers,
        },
        Extra {
            column: 6,
            published: "attrs_conf",
            stored: "attribute_confidences",
            element_type: ExtraType::Reals,
        },
    ],
    other: ("butd-tsv", 6),
};

/// TSV files, read one after the other.
#[derive(Debug)]
pub(super) struct TsvDump {
    columns: &'static Columns,
    files: Vec<(PathBuf, u64)>,
    /// The index of the file that is read; at the end the number of files.
    file: usize,
    reader: Option<BufReader<File>>,
    line: Vec<u8>,
    line_number: usize,
    bytes_read: u64,
    /// F, after the first line was read.
    width: Option<usize>,
}

impl TsvDump {
    /// Reads the sizes of the files; each is opened when the previous one is finished.
    ///
    /// # Errors
    /// A missing file.
    pub(super) fn open(columns: &'static Columns, paths: &[PathBuf]) -> Result<Self> {
        let sized = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
            Ok((path.clone(), metadata.len()))
        };
        Ok(Self {
            columns,
            files: paths.iter().map(sized).collect::<Result<_>>()?,
            file: 0,
            reader: None,
            line: Vec::new(),
            line_number: 0,
            bytes_read: 0,
            width: None,
        })
    }

    /// Reads the next line that is not empty into `self.line`; false at the end of the last file.
    fn read_line(&mut self) -> Result<bool> {
        while let Some((path, _)) = self.files.get(self.file) {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                closed => {
                    let file = uard_files::open(path).map_err(Error::io(path, "open"))?;
                    self.line_number = 0;
                    closed.insert(BufReader::with_capacity(1 << 20, file))
                }
            };
            self.line.clear();
            let read = reader.take(LONGEST_LINE).read_until(b'\n', &mut self.line);
            let read = read.map_err(Error::io(path, "read"))? as u64;
            self.bytes_read += read;
            self.line_number += 1;
            if read == LONGEST_LINE {
                let limit = LONGEST_LINE;
                return Err(Problem::LongLine { limit }.at(self.location()));
            }
            if read == 0 {
                self.reader = None;
                self.file += 1;
            } else if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn location(&self) -> ImageLocation {
        ImageLocation::line(&self.files[self.file].0, self.line_number)
    }

    /// The error of a line that cannot be read: a file of another kind, a truncated file, or the line's
    /// own problem.
    fn refused(&self, problem: Problem) -> Error {
        let path = &self.files[self.file].0;
        if let Some(other) = FileError::other_file(path, "a TSV of region features", &self.line) {
            return other.into();
        }
        let location = self.location();
        if self.line.ends_with(b"\n") {
            return problem.at(location);
        }
        let problem = Box::new(problem);
        Problem::CutOff { problem }.at(location)
    }

    fn parse(&mut self) -> std::result::Result<(usize, Entry), Problem> {
        let columns = self.columns;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b'\t').map(plain).collect();
        if fields.len() != columns.columns {
            let (other, its_columns) = columns.other;
            return Err(Problem::Columns {
                expected: columns.columns,
                found: fields.len(),
                other: (fields.len() == its_columns).then_some(other),
            });
        }
        let id: String = number(fields[0], "image_id", "an id in UTF-8")?;
        let pixels = "a number of pixels";
        let size = Size {
            height: number(fields[columns.height], "height", pixels)?,
            width: number(fields[columns.width], "width", pixels)?,
        };
        let counted = fields[columns.num_boxes];
        let regions: usize = number(counted, "num_boxes", "a number of regions")?;
        if regions == 0 {
            let column = "num_boxes";
            return Err(Problem::NoRegions { column });
        }
        let mut extras = BTreeMap::new();
        for extra in columns.extras {
            let values = extra.decode(fields[extra.column], regions)?;
            extras.insert(extra.stored.to_owned(), values);
        }
        let boxes = floats(fields[columns.num_boxes + 1], "boxes", regions, 4)?;
        let (boxes, _) = boxes.as_chunks::<4>();
        let field = fields[columns.num_boxes + 2];
        let features = features(field, "features", regions, self.width)?;
        self.width = Some(features.len() / regions);
        let entry = Entry {
            id,
            size: Some(size),
            boxes: Some(boxes.to_vec()),
            features,
            extras,
        };
        Ok((regions, entry))
    }
}

impl Dump for TsvDump {
    fn next_image(&mut self) -> Result<Option<DumpImage>> {
        if !self.read_line()? {
            return Ok(None);
        }
        let location = self.location();
        match self.parse() {
            Ok((regions, entry)) => Ok(Some(DumpImage {
                location,
                regions,
                entry,
            })),
            Err(problem) => Err(self.refused(problem)),
        }
    }

    fn sources(&self) -> Vec<Source> {
        let source = |(path, bytes): &(PathBuf, u64)| Source {
            name: name(path),
            bytes: *bytes,
            files: 1,
        };
        self.files.iter().map(source).collect()
    }

    fn progress(&self) -> (u64, u64) {
        let total = self.files.iter().map(|(_, bytes)| bytes).sum();
        (self.bytes_read, total)
    }
}

impl Extra {
    fn decode(&self, field: &[u8], regions: usize) -> std::result::Result<Column, Problem> {
        match self.element_type {
            ExtraType::Reals => floats(field, self.published, regions, 1).map(Column::Reals),
            ExtraType::Integers => {
                let bytes = bytes(field, self.published)?;
                let (values, rest) = bytes.as_chunks::<8>();
                if values.len() != regions || !rest.is_empty() {
                    return Err(Problem::Bytes {
                        column: self.published,
                        expected: format!("{} ({regions} regions x 8)", regions.saturating_mul(8)),
                        found: bytes.len(),
                    });
                }
                let values = values.iter().map(|&value| i64::from_le_bytes(value));
                Ok(Column::Integers(values.collect()))
            }
        }
    }
}
