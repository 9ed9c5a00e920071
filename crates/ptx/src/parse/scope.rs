//! What does a name mean where it stands?

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::instruction::{Instruction, Op, ParameterCopy, Register};
use crate::module::{Frame, GlobalVariable};
use crate::types::{Space, Type};

use super::header::Definition;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Symbol {
    Register(Register, Type),
    /// A variable at a place that is known when the text is read.
    Memory {
        space: Space,
        address: usize,
    },
    /// A variable in device memory, by its number.
    Global(usize),
    /// Dynamic shared memory.
    DynamicShared,
}

/// Names and labels between two braces.
#[derive(Debug, Default)]
pub(crate) struct Scope<'t> {
    pub(crate) parent: Option<usize>,
    pub(crate) symbols: HashMap<String, Symbol>,
    pub(crate) labels: HashMap<&'t str, u32>,
    /// `.branchtargets`, by label.
    pub(crate) tables: HashMap<&'t str, Vec<&'t str>>,
}

/// Bytes of parameter memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// Where a function finds its arguments and leaves its results.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) parameters: Vec<Slot>,
    pub(crate) results: Vec<Slot>,
    pub(crate) back: Register,
    /// `None` before it is decoded, or where it has no body.
    pub(crate) entry: Option<u32>,
}

/// A call whose target is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct PendingCall {
    pub(crate) at: usize,
    /// `None` in a kernel.
    pub(crate) caller: Option<String>,
    pub(crate) callee: String,
    pub(crate) line: u32,
}

/// A module while it is read.
#[derive(Debug, Default)]
pub(crate) struct Program<'t> {
    pub(crate) lines: Vec<&'t str>,
    pub(crate) code: Vec<Instruction>,
    pub(crate) globals: Vec<GlobalVariable>,
    pub(crate) constants: Vec<u8>,
    pub(crate) symbols: HashMap<String, Symbol>,
    pub(crate) signatures: HashMap<String, Signature>,
    pub(crate) calls: Vec<PendingCall>,
    pub(crate) functions_defined: Vec<Definition<'t>>,
    pub(crate) kernels_defined: Vec<Definition<'t>>,
    /// Storage of the module and of the functions so far.
    pub(crate) frame: Frame,
}

impl Program<'_> {
    pub(crate) fn unsupported(&self, line: u32, reason: impl Into<String>) -> Error {
        let text = self.lines.get(line as usize - 1).copied();
        Error::Unsupported {
            line,
            instruction: text.unwrap_or_default().trim().to_owned(),
            reason: reason.into(),
        }
    }

    /// Fills in where calls go, and refuses recursion.
    pub(crate) fn link_calls(&mut self) -> Result<()> {
        for call in &self.calls {
            let entry = self
                .signatures
                .get(&call.callee)
                .and_then(|signature| signature.entry);
            let Some(entry) = entry else {
                let reason = format!("the function `{}` has no body", call.callee);
                return Err(self.unsupported(call.line, reason));
            };
            if let Some(caller) = &call.caller
                && self.reaches(&call.callee, caller, self.signatures.len())
            {
                return Err(self.unsupported(call.line, "recursion is not supported"));
            }
            if let Op::Call { target, .. } = &mut self.code[call.at].op {
                *target = entry;
            }
        }
        Ok(())
    }

    /// Whether a chain of at most `length` calls leads from one function to another.
    fn reaches(&self, from: &str, to: &str, length: usize) -> bool {
        from == to
            || length > 0
                && self
                    .calls
                    .iter()
                    .filter(|call| call.caller.as_deref() == Some(from))
                    .any(|call| self.reaches(&call.callee, to, length - 1))
    }
}

/// Pairs what a call gives with what the function takes; `None` where they differ.
pub(crate) fn copies(to: &[Slot], from: &[Slot]) -> Option<Vec<ParameterCopy>> {
    let same = to.len() == from.len();
    let pairs = to.iter().zip(from);
    let fits = pairs.clone().all(|(to, from)| to.bytes == from.bytes);
    (same && fits).then(|| {
        pairs
            .map(|(to, from)| ParameterCopy {
                to: to.offset,
                from: from.offset,
                bytes: to.bytes,
            })
            .collect()
    })
}

/// The next multiple of `align` that is not below `offset`.
pub(crate) fn aligned(offset: usize, align: usize) -> usize {
    offset.next_multiple_of(align.max(1))
}
