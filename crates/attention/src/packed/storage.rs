//! The memory of packed fragments: aligned lines of 64 bytes, or a mapped file, read the same way.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;
use uard_files::MappedFile;

/// Bytes of a line: one load of AVX-512, and the alignment of every part.
pub const LINE_BYTES: usize = 64;

/// 64 bytes at an address that is a multiple of 64.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// Allocations of at least this many bytes are mapped from the system in huge pages. The system zeroes a
/// page when a thread first writes it, so the threads that pack share that work.
const PAGES_FROM: usize = 4 << 20;

/// Bytes in memory, aligned to a line and zero until they are written.
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
    /// Appends zeros until there are `bytes` bytes; does nothing if there are more.
    pub fn grow(&mut self, bytes: usize) {
        let capacity = self.memory.as_slice().len();
        if bytes > capacity {
            let capacity = match self.bytes {
                0 => bytes,
                // By doubling, each byte is copied about once. Pages that are never written need no memory.
                _ => bytes.max(2 * capacity),
            };
            let mut memory = Memory::zeroed(capacity);
            memory.as_mut_slice()[..self.bytes].copy_from_slice(self.as_slice());
            self.memory = memory;
        }
        self.bytes = self.bytes.max(bytes);
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.memory.as_slice()[..self.bytes]
    }

    /// The bytes as numbers of `T`, to be written.
    ///
    /// # Panics
    /// When their length is no multiple of a number's.
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
                // If the system refuses huge pages, only time is lost.
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

/// Bytes in memory or in a mapped file.
pub enum Bytes {
    /// In memory.
    Owned(Lines),
    /// In a mapped file.
    Mapped(MappedFile),
}

impl Bytes {
    /// The bytes, aligned to a line.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(lines) => lines.as_slice(),
            Self::Mapped(map) => map,
        }
    }
}

/// A range of shared bytes. A clone shares them.
#[derive(Clone)]
pub struct Section {
    bytes: Arc<Bytes>,
    range: Range<usize>,
}

impl Section {
    /// A range of bytes.
    ///
    /// # Panics
    /// When the range leaves the bytes or does not begin on a line, mistakes of the caller.
    pub fn new(bytes: Arc<Bytes>, range: Range<usize>) -> Self {
        assert_eq!(range.start % LINE_BYTES, 0, "a section begins on a line");
        assert!(bytes.as_slice().get(range.clone()).is_some(), "{range:?}");
        Self { bytes, range }
    }

    /// All bytes of these lines.
    pub fn owned(lines: Lines) -> Self {
        let range = 0..lines.as_slice().len();
        Self::new(Arc::new(Bytes::Owned(lines)), range)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes.as_slice()[self.range.clone()]
    }

    /// Its bytes as numbers of `T`.
    ///
    /// # Panics
    /// When their length is no multiple of a number's.
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
