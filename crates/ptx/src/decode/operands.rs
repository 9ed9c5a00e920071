//! Where does an operand come from, and where does a result go?

use super::Body;
use crate::error::Result;
use crate::instruction::{Address, Function, Op, Register, Source, Special};
use crate::parse::operand::Operand;
use crate::parse::scope::Symbol;
use crate::types::{Space, Type};

impl<'t> Body<'_, 't> {
    /// Exactly so many operands.
    pub(super) fn exactly<'o, const N: usize>(
        &self,
        operands: &'o [Operand<'t>],
    ) -> Result<&'o [Operand<'t>; N]> {
        let found = operands.len();
        operands
            .try_into()
            .map_err(|_| self.unsupported(format!("takes {N} operands, found {found}")))
    }

    /// The register that an operand names; a new one for `_`.
    pub(super) fn register(&mut self, operand: &Operand<'t>) -> Result<Register> {
        match operand {
            Operand::Name("_") => Ok(self.temporary()),
            Operand::Name(name) => match self.symbol(name) {
                Some(Symbol::Register(register, _)) => Ok(register),
                _ => Err(self.unsupported(format!("`{name}` is no register"))),
            },
            _ => Err(self.unsupported("a register is expected as destination")),
        }
    }

    /// The registers of `{a, b}`, or of a single one.
    pub(super) fn registers_of(&mut self, operand: &Operand<'t>) -> Result<Vec<Register>> {
        match operand {
            Operand::Vector(items) => items.iter().map(|item| self.register(item)).collect(),
            one => Ok(vec![self.register(one)?]),
        }
    }

    /// The value of an operand of a type.
    pub(super) fn source(&mut self, operand: &Operand<'t>, kind: Type) -> Result<Source> {
        match operand {
            Operand::Number(number) => Ok(Source::Value(number.bits(kind))),
            Operand::Not(name) => {
                let from = self.source(&Operand::Name(name), kind)?;
                self.computed(Function::One(|a| a ^ 1), &[from])
            }
            Operand::Name(name) => self.named(name),
            _ => Err(self.unsupported("a register or number is expected")),
        }
    }

    /// The values of `{a, b}`, or of a single one.
    pub(super) fn sources_of(&mut self, operand: &Operand<'t>, kind: Type) -> Result<Vec<Source>> {
        match operand {
            Operand::Vector(items) => items.iter().map(|item| self.source(item, kind)).collect(),
            one => Ok(vec![self.source(one, kind)?]),
        }
    }

    fn named(&mut self, name: &str) -> Result<Source> {
        let special = match self.symbol(name) {
            Some(Symbol::Register(register, _)) => return Ok(Source::Register(register)),
            Some(Symbol::Memory { address, .. }) => return Ok(Source::Value(address as u64)),
            Some(Symbol::Global(variable)) => Special::Variable(variable),
            Some(Symbol::DynamicShared) => Special::DynamicShared,
            None => match special(name) {
                Some(special) => special,
                None => return Err(self.unsupported(format!("`{name}` is not declared"))),
            },
        };
        let to = self.temporary();
        self.emit(Op::Special { special, to });
        Ok(Source::Register(to))
    }

    /// `[base + offset]`, and the space of the base if it is a variable.
    pub(super) fn address(&mut self, operand: &Operand<'t>) -> Result<(Address, Option<Space>)> {
        let Operand::Address(base, offset) = operand else {
            return Err(self.unsupported("an address is expected"));
        };
        let space = match **base {
            Operand::Name(name) => match self.symbol(name) {
                Some(Symbol::Memory { space, .. }) => Some(space),
                Some(Symbol::Global(_)) => Some(Space::Global),
                Some(Symbol::DynamicShared) => Some(Space::Shared),
                _ => None,
            },
            _ => None,
        };
        let base = self.source(base, Type::B64)?;
        let address = Address {
            base,
            offset: *offset,
        };
        Ok((address, space))
    }
}

/// A register that the machine sets.
fn special(name: &str) -> Option<Special> {
    let axis = |letter: &str| ["x", "y", "z"].iter().position(|axis| *axis == letter);
    Some(match name.strip_prefix('%')? {
        "laneid" => Special::Lane,
        "warpid" => Special::Warp,
        "nwarpid" => Special::Warps,
        "dynamic_smem_size" => Special::DynamicSharedBytes,
        "total_smem_size" => Special::SharedBytes,
        "clock" | "clock64" | "clock_hi" | "globaltimer" => Special::Clock,
        "smid" | "gridid" => Special::Zero,
        "lanemask_eq" => Special::LaneMask(|lane| 1 << lane),
        "lanemask_lt" => Special::LaneMask(|lane| (1 << lane) - 1),
        "lanemask_le" => Special::LaneMask(|lane| u32::MAX >> (31 - lane)),
        "lanemask_gt" => Special::LaneMask(|lane| !(u32::MAX >> (31 - lane))),
        "lanemask_ge" => Special::LaneMask(|lane| u32::MAX << lane),
        name => match name.split_once('.')? {
            ("tid", letter) => Special::Thread(axis(letter)?),
            ("ntid", letter) => Special::Threads(axis(letter)?),
            ("ctaid", letter) => Special::Block(axis(letter)?),
            ("nctaid", letter) => Special::Blocks(axis(letter)?),
            _ => return None,
        },
    })
}
