//! The TSV files of bottom-up attention, read a line of 400 kB at a time.
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

use super::error::{Place, Problem};
use super::{Dump, Found, name};
use crate::store::{Column, Entry, Size, Source};
use uard_files::FileError;

use crate::{Error, Result};
use numbers::{bytes, features, floats, number, plain};

/// Longer lines are refused before they fill the memory: 100 boxes of 2048 make 1.1 MB.
const LONGEST_LINE: u64 = 64 << 20;

/// Which column holds what.
#[derive(Debug)]
pub(super) struct Columns {
    columns: usize,
    height: usize,
    width: usize,
    num_boxes: usize,
    extras: &'static [Extra],
    /// The format that is mistaken for this one, and how many columns it has.
    other: (&'static str, usize),
}

/// A column with a number for each region.
#[derive(Debug)]
struct Extra {
    column: usize,
    published: &'static str,
    stored: &'static str,
    holds: Holds,
}

#[derive(Debug)]
enum Holds {
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
            holds: Holds::Integers,
        },
        Extra {
            column: 4,
            published: "objects_conf",
            stored: "object_confidences",
            holds: Holds::Reals,
        },
        Extra {
            column: 5,
            published: "attrs_id",
            stored: "attribute_ids",
            holds: Holds::Integers,
        },
        Extra {
            column: 6,
            published: "attrs_conf",
            stored: "attribute_confidences",
            holds: Holds::Reals,
        },
    ],
    other: ("butd-tsv", 6),
};

/// TSV files, read one after the other.
#[derive(Debug)]
pub(super) struct TsvDump {
    columns: &'static Columns,
    files: Vec<(PathBuf, u64)>,
    /// The file that is read, or the number of files at the end.
    file: usize,
    reader: Option<BufReader<File>>,
    line: Vec<u8>,
    line_number: usize,
    bytes_read: u64,
    /// F, once the first line told it.
    width: Option<usize>,
}

impl TsvDump {
    /// Looks at the sizes of the files; they are opened when their turn comes.
    ///
    /// # Errors
    /// A file that is not there.
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

    /// Brings the next line that is not empty into `line`; false at the end of the last file.
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
                return Err(Problem::LongLine { limit }.at(self.place()));
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

    fn place(&self) -> Place {
        Place::line(&self.files[self.file].0, self.line_number)
    }

    /// Why the line cannot be read: what the whole file is, that it is cut, or the line's own problem.
    fn refused(&self, problem: Problem) -> Error {
        let path = &self.files[self.file].0;
        if let Some(other) = FileError::other_file(path, "a TSV of region features", &self.line) {
            return other.into();
        }
        let place = self.place();
        if self.line.ends_with(b"\n") {
            return problem.at(place);
        }
        let problem = Box::new(problem);
        Problem::CutOff { problem }.at(place)
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
    fn next_image(&mut self) -> Result<Option<Found>> {
        if !self.read_line()? {
            return Ok(None);
        }
        let place = self.place();
        match self.parse() {
            Ok((regions, entry)) => Ok(Some(Found {
                place,
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
        match self.holds {
            Holds::Reals => floats(field, self.published, regions, 1).map(Column::Reals),
            Holds::Integers => {
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
