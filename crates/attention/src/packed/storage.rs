//! Who owns the packed bytes: lines of 64 bytes in memory, or a mapped file; the same to readers.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;
use uard_files::MappedFile;

/// Bytes of a line: what one load of AVX-512 reads, and how every part is aligned.
pub const LINE_BYTES: usize = 64;

/// 64 bytes that begin on a multiple of 64.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// From here on memory is asked of the system itself: in large pages, zeroed by whoever touches
/// them first, which is the thread that fills them.
const PAGES_FROM: usize = 4 << 20;

/// Bytes in memory that begin on a line, zero until they are written.
#[derive(Default)]
pub struct Lines {
    memory: Memory,
    bytes: usize,
}

enum Memory {
    Heap(Vec<Line>),
    Pages(MmapMut),
}

impl Lines {
    /// Lengthens with zeros until `bytes` are there; never shortens.
    pub fn grow(&mut self, bytes: usize) {
        let capacity = self.memory.as_slice().len();
        if bytes > capacity {
            let room = match self.bytes {
                0 => bytes,
                // Doubling moves each byte about once; room that is never written costs no memory.
                _ => bytes.max(2 * capacity),
            };
            let mut memory = Memory::zeroed(room);
            memory.as_mut_slice()[..self.bytes].copy_from_slice(self.as_slice());
            self.memory = memory;
        }
        self.bytes = self.bytes.max(bytes);
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory.as_slice()[..self.bytes]
    }

    /// All of them as numbers, to be written.
    ///
    /// # Panics
    /// When they are no whole numbers: the caller asked for other ones.
    pub fn numbers_mut<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory.as_mut_slice()[..self.bytes])
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Memory {
    fn zeroed(bytes: usize) -> Self {
        let pages = (bytes >= PAGES_FROM && !cfg!(miri)).then(|| MmapMut::map_anon(bytes));
        match pages {
            Some(Ok(pages)) => {
                #[cfg(target_os = "linux")]
                // Refused, it costs time and nothing else.
                let _ = pages.advise(memmap2::Advice::HugePage);
                Self::Pages(pages)
            }
            _ => Self::Heap(vec![Line::zeroed(); bytes.div_ceil(LINE_BYTES)]),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Heap(lines) => bytemuck::cast_slice(lines),
            Self::Pages(pages) => pages,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Self::Pages(pages) => pages,
        }
    }
}

/// Where bytes live.
pub enum Bytes {
    /// In memory.
    Owned(Lines),
    /// In a file.
    Mapped(MappedFile),
}

impl Bytes {
    /// All of them, aligned to a line.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(lines) => lines.as_slice(),
            Self::Mapped(map) => map,
        }
    }
}

/// A part of some bytes, shared: a clone costs nothing.
#[derive(Clone)]
pub struct Section {
    bytes: Arc<Bytes>,
    range: Range<usize>,
}

impl Section {
    /// A part of bytes that may hold others.
    ///
    /// # Panics
    /// When the range leaves the bytes or begins within a line: the caller checks both.
    pub fn new(bytes: Arc<Bytes>, range: Range<usize>) -> Self {
        assert_eq!(range.start % LINE_BYTES, 0, "a section begins on a line");
        assert!(bytes.as_slice().get(range.clone()).is_some(), "{range:?}");
        Self { bytes, range }
    }

    /// All of these lines.
    pub fn owned(lines: Lines) -> Self {
        let range = 0..lines.as_slice().len();
        Self::new(Arc::new(Bytes::Owned(lines)), range)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes.as_slice()[self.range.clone()]
    }

    /// Its bytes as numbers.
    ///
    /// # Panics
    /// When they are no whole numbers, which no section is cut to.
    pub fn numbers<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.as_bytes())
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match *self.bytes {
            Bytes::Owned(_) => "in memory",
            Bytes::Mapped(_) => "mapped",
        };
        write!(formatter, "{} bytes {place}", self.range.len())
    }
}
