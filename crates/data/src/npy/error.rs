//! What can be wrong with an array of numpy, or with its reading and writing.

use std::fmt;
use std::path::PathBuf;

/// A cause, with the file and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The first bytes are not those of an npy file.
    #[error("{}: not an npy file of version 1 to 3: {cause}; write it with numpy.save", path.display())]
    NpyHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with the header.
        cause: String,
    },
    /// An array of Python objects.
    #[error("{}: an object array (dtype {found}): its numbers are pickled, which only Python can read; expected {expected}. Convert it with numpy.save(path, numpy.stack(array).astype('float32'))", path.display())]
    ObjectArray {
        /// The file.
        path: PathBuf,
        /// The dtype in the file.
        found: String,
        /// The dtypes that can be read.
        expected: &'static str,
    },
    /// A dtype that is not read.
    #[error("{}: expected dtype {expected}, found {found}; convert it with array.astype(...) before numpy.save", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The dtypes that can be read.
        expected: &'static str,
        /// The dtype in the file.
        found: String,
    },
    /// A big-endian array.
    #[error("{}: expected little-endian dtype {expected}, found big-endian {found}; convert it with array.astype(array.dtype.newbyteorder('<'))", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
        /// The dtypes that can be read.
        expected: &'static str,
        /// The dtype in the file.
        found: String,
    },
    /// An array whose first axis varies fastest.
    #[error("{}: expected C order, found Fortran order; convert it with numpy.save(path, numpy.ascontiguousarray(array))", path.display())]
    FortranOrder {
        /// The file.
        path: PathBuf,
    },
    /// An array with another number of axes.
    #[error("{}: expected {expected} axes ({axes}), found {} in shape {}", path.display(), shape.len(), Tuple(shape))]
    Rank {
        /// The file.
        path: PathBuf,
        /// The number of axes that was needed.
        expected: usize,
        /// Their meaning.
        axes: &'static str,
        /// The shape in the file.
        shape: Vec<usize>,
    },
    /// A file that is shorter than its header promises.
    #[error("{}: truncated: shape {} of {dtype} needs {needed} bytes after the header, the file has {found}; download or copy it again", path.display(), Tuple(shape))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The shape in the header.
        shape: Vec<usize>,
        /// The dtype in the header.
        dtype: &'static str,
        /// Bytes that the shape needs.
        needed: u128,
        /// Bytes after the header.
        found: u64,
    },
    /// A file that is longer than its header promises.
    #[error("{}: too long: shape {} of {dtype} needs {needed} bytes after the header, the file has {found}; its header belongs to another array, so write it again", path.display(), Tuple(shape))]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The shape in the header.
        shape: Vec<usize>,
        /// The dtype in the header.
        dtype: &'static str,
        /// Bytes that the shape needs.
        needed: u128,
        /// Bytes after the header.
        found: u64,
    },
    /// An array with another shape than its split has.
    #[error("{}: expected shape {}, found {}; {origin}", path.display(), Tuple(expected), Tuple(found))]
    ArrayShape {
        /// The file.
        path: PathBuf,
        /// The shape that was needed.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// Where the expectation comes from.
        origin: String,
    },
    /// An array along one axis of which nothing lies.
    #[error("{}: shape {} is empty; expected at least one of each of {axes}", path.display(), Tuple(shape))]
    EmptyArray {
        /// The file.
        path: PathBuf,
        /// The shape in the file.
        shape: Vec<usize>,
        /// The meaning of the axes.
        axes: &'static str,
    },
    /// A write of more or fewer numbers than the header promises.
    #[error("{}: shape {} holds {expected} numbers, {found} were written", path.display(), Tuple(shape))]
    WrittenCount {
        /// The file.
        path: PathBuf,
        /// The shape in the header.
        shape: Vec<usize>,
        /// The numbers that the shape holds.
        expected: usize,
        /// The numbers that were written.
        found: usize,
    },
    /// An image that is not there was asked for.
    #[error("{}: image {image} was asked for, the file has {images}", path.display())]
    ImageOutOfRange {
        /// The file.
        path: PathBuf,
        /// The image.
        image: usize,
        /// How many there are.
        images: usize,
    },
    /// Room for another number of values than are read.
    #[error("{}: {expected} numbers are read, there is room for {found}", path.display())]
    BufferLength {
        /// The file.
        path: PathBuf,
        /// The numbers that are read.
        expected: usize,
        /// The room that was given.
        found: usize,
    },
}

/// A shape as Python prints it: `(113287, 36, 2048)`, `(5,)`.
struct Tuple<'a>(&'a [usize]);

impl fmt::Display for Tuple<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return write!(formatter, "({only},)");
        }
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(formatter, "({})", sizes.join(", "))
    }
}
