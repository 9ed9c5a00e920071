//! The errors of reading and writing numpy arrays.

use std::fmt;
use std::path::PathBuf;

/// Why an array cannot be read or written, with the file and what was expected and found.
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
    #[error("{}: expected {expected} axes ({axes}), found {} in shape {}", path.display(), shape.len(), PythonShape(shape))]
    Rank {
        /// The file.
        path: PathBuf,
        /// The number of axes that was needed.
        expected: usize,
        /// The meaning of these axes.
        axes: &'static str,
        /// The shape in the file.
        shape: Vec<usize>,
    },
    /// A file that is shorter than the shape in its header needs.
    #[error("{}: truncated: shape {} of {dtype} needs {needed} bytes after the header, the file has {found}; download or copy it again", path.display(), PythonShape(shape))]
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
    /// A file that is longer than the shape in its header needs.
    #[error("{}: too long: shape {} of {dtype} needs {needed} bytes after the header, the file has {found}; its header belongs to another array, so write it again", path.display(), PythonShape(shape))]
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
    #[error("{}: expected shape {}, found {}; {origin}", path.display(), PythonShape(expected), PythonShape(found))]
    ArrayShape {
        /// The file.
        path: PathBuf,
        /// The shape that was needed.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// The reason for the expected shape.
        origin: String,
    },
    /// An array with an axis of size zero.
    #[error("{}: shape {} is empty; expected at least one of each of {axes}", path.display(), PythonShape(shape))]
    EmptyArray {
        /// The file.
        path: PathBuf,
        /// The shape in the file.
        shape: Vec<usize>,
        /// The meaning of the axes.
        axes: &'static str,
    },
    /// A write of more or fewer numbers than the shape in the header has.
    #[error("{}: shape {} holds {expected} numbers, {found} were written", path.display(), PythonShape(shape))]
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
    /// A request for an image that does not exist.
    #[error("{}: image {image} was requested, the file has {images}", path.display())]
    ImageOutOfRange {
        /// The file.
        path: PathBuf,
        /// The index of the image.
        image: usize,
        /// The number of images.
        images: usize,
    },
    /// A buffer of another length than the numbers that are read.
    #[error("{}: expected a buffer of {expected} numbers, found one of {found}", path.display())]
    BufferLength {
        /// The file.
        path: PathBuf,
        /// The numbers that are read.
        expected: usize,
        /// The length of the buffer.
        found: usize,
    },
}

/// A shape as Python prints it: `(113287, 36, 2048)`, `(5,)`.
struct PythonShape<'a>(&'a [usize]);

impl fmt::Display for PythonShape<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return write!(formatter, "({only},)");
        }
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(formatter, "({})", sizes.join(", "))
    }
}
