//! Whether a JPEG holds its whole picture. Decoders paint what is missing grey and say nothing, so
//! its Huffman codes are followed to the last block here, without computing a pixel.
//!
//! # Source
//! ITU-T T.81: markers (B.1), sequential (F.2) and progressive (G.2) codes, restarts (E.2.4).

mod bits;
mod scan;

use bits::{Bits, Stop, Table};
use scan::Scan;

/// As many scans as the decoder follows.
const MAXIMUM_SCANS: usize = 100;

/// So many bytes behind the last block of a file without an end are what was left of the end. A
/// file that was filled up with zeros has more.
const REMNANT: usize = 4;

/// Coefficients of a block.
const COEFFICIENTS: usize = 64;

const END_OF_IMAGE: u8 = 0xd9;

/// Why a JPEG does not hold its whole picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Defect {
    /// The data is over before the first block.
    #[error("it ends after {bytes} bytes, before its picture begins")]
    NoPicture {
        /// What is there.
        bytes: usize,
    },
    /// The data is over before the last block of a scan, or before the last scan.
    #[error("it ends after {bytes} bytes, with {rows} of {height} rows in scan {scan}")]
    Ends {
        /// What is there.
        bytes: usize,
        /// Which scan of the picture, from 1; all but progressive JPEGs have one.
        scan: usize,
        /// Whole rows of pixels in that scan.
        rows: usize,
        /// All rows.
        height: usize,
    },
    /// Bits that are no code, or a marker among the blocks.
    #[error("it is broken at byte {at}, after {rows} of {height} rows in scan {scan}")]
    Broken {
        /// Where, to a few bytes.
        at: usize,
        /// As above.
        scan: usize,
        /// As above.
        rows: usize,
        /// As above.
        height: usize,
    },
}

/// What a JPEG lacks; `None` where it is whole, has more than `most_pixels`, or is of a kind that
/// is not followed here: then it is the decoder's to judge.
///
/// A file without an end is whole if all blocks are there. Behind the end nothing is looked at:
/// phones put further pictures there.
pub(super) fn defect(bytes: &[u8], most_pixels: u64) -> Option<Defect> {
    let mut picture = Picture {
        bytes,
        at: 0,
        most_pixels,
        frame: None,
        tables: Tables::default(),
        restart_interval: 0,
        scans: 0,
        rows: 0,
    };
    let stop = picture.follow().err()?;
    let (scan, rows) = (picture.scans, picture.rows);
    let height = picture.frame.map_or(0, |frame| frame.height);
    match stop {
        Stop::Unknown => None,
        Stop::Over if scan == 0 => Some(Defect::NoPicture { bytes: picture.at }),
        Stop::Over => Some(Defect::Ends {
            bytes: picture.at,
            scan,
            rows,
            height,
        }),
        Stop::Broken => Some(Defect::Broken {
            at: picture.at,
            scan,
            rows,
            height,
        }),
    }
}

/// A JPEG, as far as it has been followed.
struct Picture<'a> {
    bytes: &'a [u8],
    at: usize,
    most_pixels: u64,
    frame: Option<Frame>,
    tables: Tables,
    /// In units of a scan; 0 for none.
    restart_interval: usize,
    scans: usize,
    /// Whole rows of pixels in the last scan.
    rows: usize,
}

/// Huffman tables that are in force, by their numbers.
#[derive(Default)]
struct Tables {
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
}

struct Frame {
    progressive: bool,
    height: usize,
    width: usize,
    /// The largest sampling factors.
    horizontal: usize,
    vertical: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Sampling factors.
    horizontal: usize,
    vertical: usize,
    /// Blocks in a row and in a column, padded to whole units of an interleaved scan.
    across: usize,
    down: usize,
    /// The lowest bit that is known of each coefficient.
    known: [u8; COEFFICIENTS],
    /// Of a progressive picture: the coefficients of each block that are not zero, a bit each.
    nonzero: Vec<u64>,
}

impl Picture<'_> {
    /// To the end of the picture.
    fn follow(&mut self) -> Result<(), Stop> {
        loop {
            let before = self.at;
            match self.next_marker() {
                None if self.at - before <= REMNANT && self.frame_is(Component::is_whole) => {
                    return Ok(());
                }
                None => return Err(Stop::Over),
                Some(END_OF_IMAGE) if self.frame_is(Component::is_begun) => return Ok(()),
                Some(END_OF_IMAGE) => return Err(Stop::Over),
                // Stand alone: the start, and restarts behind the last block.
                Some(0x01 | 0xd0..=0xd8) => {}
                Some(marker) => self.segment(marker)?,
            }
        }
    }

    fn frame_is(&self, predicate: fn(&Component) -> bool) -> bool {
        let frame = self.frame.as_ref();
        frame.is_some_and(|frame| frame.components.iter().all(predicate))
    }

    /// The next marker; bytes that belong to none are passed over, to the end where there is none.
    fn next_marker(&mut self) -> Option<u8> {
        let marker = bits::next_marker(&self.bytes[self.at..]);
        self.at = marker.map_or(self.bytes.len(), |(length, _)| self.at + length);
        marker.map(|(_, marker)| marker)
    }

    fn segment(&mut self, marker: u8) -> Result<(), Stop> {
        let left = &self.bytes[self.at..];
        let length = left.first_chunk().map(|&bytes| u16::from_be_bytes(bytes));
        let content = length.and_then(|length| left.get(2..usize::from(length).max(2)));
        let Some(content) = content else {
            self.at = self.bytes.len();
            return Err(Stop::Over);
        };
        self.at += 2 + content.len();
        match marker {
            0xc0..=0xc2 => self.begin(content, marker == 0xc2),
            0xc4 => self.tables.read(content),
            // Lossless, hierarchical and arithmetic pictures.
            0xc3 | 0xc5..=0xcf => Err(Stop::Unknown),
            0xda => self.scan(content),
            0xdd => {
                let interval = content.first_chunk().ok_or(Stop::Unknown)?;
                self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, header: &[u8], progressive: bool) -> Result<(), Stop> {
        let frame = Frame::read(header, progressive).filter(|frame| {
            let pixels = frame.width as u64 * frame.height as u64;
            (1..=self.most_pixels).contains(&pixels) && self.frame.is_none()
        });
        self.frame = Some(frame.ok_or(Stop::Unknown)?);
        Ok(())
    }

    fn scan(&mut self, header: &[u8]) -> Result<(), Stop> {
        let frame = self.frame.as_mut().ok_or(Stop::Unknown)?;
        let mut scan = Scan::read(header, frame, &self.tables).ok_or(Stop::Unknown)?;
        if self.scans == MAXIMUM_SCANS {
            return Err(Stop::Unknown);
        }
        self.scans += 1;
        let mut bits = Bits::new(self.bytes, self.at);
        let outcome = scan.follow(frame, self.restart_interval, &mut bits);
        self.rows = scan.rows(frame);
        self.at = bits.at();
        outcome
    }
}

impl Tables {
    fn read(&mut self, mut content: &[u8]) -> Result<(), Stop> {
        while let [place, rest @ ..] = content {
            let (table, rest) = Table::read(rest).ok_or(Stop::Unknown)?;
            let tables = match place >> 4 {
                0 => &mut self.dc,
                _ => &mut self.ac,
            };
            let slot = tables.get_mut(usize::from(place & 15));
            *slot.ok_or(Stop::Unknown)? = Some(table);
            content = rest;
        }
        Ok(())
    }
}

impl Frame {
    fn read(header: &[u8], progressive: bool) -> Option<Self> {
        let (&[8, h0, h1, w0, w1, count], rest) = header.split_first_chunk()? else {
            return None;
        };
        let height = usize::from(u16::from_be_bytes([h0, h1]));
        let width = usize::from(u16::from_be_bytes([w0, w1]));
        let factors = |parts: &[u8]| (usize::from(parts[1] >> 4), usize::from(parts[1] & 15));
        let all: Vec<(usize, usize)> = rest.chunks_exact(3).map(factors).collect();
        let fits = (1..=4).contains(&count) && rest.len() == 3 * usize::from(count);
        if !fits
            || all
                .iter()
                .any(|(h, v)| ![1, 2, 3, 4].contains(h) || ![1, 2, 3, 4].contains(v))
        {
            return None;
        }
        let horizontal = all.iter().map(|(h, _)| *h).max()?;
        let vertical = all.iter().map(|(_, v)| *v).max()?;
        let components = rest.chunks_exact(3).map(|parts| {
            let (h, v) = factors(parts);
            Component {
                id: parts[0],
                horizontal: h,
                vertical: v,
                across: width.div_ceil(8 * horizontal) * h,
                down: height.div_ceil(8 * vertical) * v,
                known: [u8::MAX; COEFFICIENTS],
                nonzero: Vec::new(),
            }
        });
        Some(Self {
            progressive,
            height,
            width,
            horizontal,
            vertical,
            components: components.collect(),
        })
    }
}

impl Component {
    /// Whether every bit of every coefficient is known.
    fn is_whole(&self) -> bool {
        self.known.iter().all(|&bit| bit == 0)
    }

    /// Whether there was a scan of it.
    fn is_begun(&self) -> bool {
        self.known[0] != u8::MAX
    }
}
