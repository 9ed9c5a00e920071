//! Which accesses to memory does an instruction make?

use super::Body;
use crate::arithmetic::{integer, single};
use crate::error::Result;
use crate::instruction::{Access, Address, Function, Op, Source};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::types::{Space, Type};

/// Hints about caches, and scopes: they change nothing here.
const HINTS: &[&str] = &[
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "weak",
    "cta",
    "cluster",
    "gpu",
    "sys",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_normal",
    "L2::evict_first",
    "L2::evict_last",
];

/// Modifiers of accesses that do not race with each other.
const STRONG: &[&str] = &[
    "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio",
];

impl<'t> Body<'_, 't> {
    /// Reads what all accesses have in common; the space may be the variable's.
    fn access(
        &mut self,
        opcode: &mut Opcode<'t>,
        kind: Type,
        address: &Operand<'t>,
    ) -> Result<Access> {
        let strong = opcode.take_one(STRONG).is_some();
        opcode.ignore(HINTS);
        let named = opcode.take_space();
        let (address, own) = self.address(address)?;
        let space = match (named, own) {
            (Space::Parameter, None) => Space::Argument,
            (Space::Parameter, Some(own)) => own,
            (Space::Generic, Some(own)) => own,
            (named, _) => named,
        };
        Ok(Access {
            space,
            bytes: kind.bytes(),
            signed: kind.is_signed(),
            strong,
            address,
        })
    }

    /// The type, and how many of it.
    fn lanes(&self, opcode: &mut Opcode<'t>) -> Result<(Type, usize)> {
        let lanes = match opcode.take_one(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        };
        match opcode.take_type() {
            Some(kind) if kind.bytes() * lanes <= 16 => Ok((kind, lanes)),
            _ => Err(self.unsupported("unknown type, or more than 16 bytes")),
        }
    }

    /// `ld.global.nc.v4.f32 {a, b, c, d}, [p+16]`
    pub(super) fn load(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let (kind, lanes) = self.lanes(&mut opcode)?;
        let [to, address] = self.exactly(operands)?;
        let access = self.access(&mut opcode, kind, address)?;
        self.finished(&opcode)?;
        let to = self.registers_of(to)?;
        if to.len() != lanes {
            return Err(self.unsupported("the number of registers"));
        }
        self.emit(Op::Load { access, to });
        Ok(())
    }

    pub(super) fn store(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let (kind, lanes) = self.lanes(&mut opcode)?;
        let [address, from] = self.exactly(operands)?;
        let access = self.access(&mut opcode, kind, address)?;
        self.finished(&opcode)?;
        if matches!(access.space, Space::Constant | Space::Argument) {
            return Err(self.unsupported("this memory is read-only"));
        }
        let from = self.sources_of(from, kind)?;
        if from.len() != lanes {
            return Err(self.unsupported("the number of registers"));
        }
        self.emit(Op::Store { access, from });
        Ok(())
    }

    /// `atom.global.add.f32 d, [p], b`
    pub(super) fn atomic(&mut self, opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let (to, rest) = self.first_operand(operands)?;
        let to = self.register(to)?;
        self.atomic_into(Some(to), opcode, rest)
    }

    pub(super) fn reduction(&mut self, opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        self.atomic_into(None, opcode, operands)
    }

    fn atomic_into(
        &mut self,
        to: Option<u32>,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let names = [
            "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec",
        ];
        let (Some(kind), Some(name)) = (opcode.take_type(), opcode.take_one(&names)) else {
            return Err(self.unsupported("unknown operation"));
        };
        opcode.ignore(&["noftz"]);
        let (address, from) = self.first_operand(operands)?;
        let access = self.access(&mut opcode, kind, address)?;
        let access = Access {
            strong: true,
            ..access
        };
        self.finished(&opcode)?;
        if !matches!(access.space, Space::Global | Space::Shared | Space::Generic) {
            return Err(self.unsupported("atomics are for global and shared memory"));
        }
        let mut sources = [Source::Value(0); 2];
        let expected = 1 + usize::from(name == "cas");
        if from.len() != expected {
            return Err(self.unsupported("the number of operands"));
        }
        for (source, operand) in sources.iter_mut().zip(from) {
            *source = self.source(operand, kind)?;
        }
        let Some(function) = atomic_function(name, kind) else {
            return Err(self.unsupported("unknown operation of this type"));
        };
        self.emit(Op::Atomic {
            access,
            function,
            to,
            from: sources,
        });
        Ok(())
    }

    /// `cp.async.cg.shared.global [d], [s], 16, n`, `cp.async.commit_group`,
    /// `cp.async.wait_group n`, `cp.async.wait_all`
    pub(super) fn copy_async(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        if !opcode.take("async") {
            return Err(self.unsupported("only `cp.async`"));
        }
        if opcode.take("commit_group") {
            self.emit(Op::CopyCommit);
            return self.finished(&opcode);
        }
        if opcode.take("wait_all") {
            self.emit(Op::CopyWait(None));
            return self.finished(&opcode);
        }
        if opcode.take("wait_group") {
            let [count] = self.exactly(operands)?;
            let Source::Value(count) = self.source(count, Type::U32)? else {
                return Err(self.unsupported("a number is expected"));
            };
            self.emit(Op::CopyWait(Some(count)));
            return self.finished(&opcode);
        }
        opcode.ignore(HINTS);
        if (opcode.take_space(), opcode.take_space()) != (Space::Shared, Space::Global) {
            return Err(self.unsupported("only from global to shared memory"));
        }
        self.finished(&opcode)?;
        self.copy_bytes(operands)
    }

    fn copy_bytes(&mut self, operands: &[Operand<'t>]) -> Result<()> {
        let (to, from, bytes, size) = match operands {
            [to, from, bytes] => (to, from, bytes, bytes),
            [to, from, bytes, size] => (to, from, bytes, size),
            _ => return Err(self.unsupported("the number of operands")),
        };
        let Source::Value(bytes @ (4 | 8 | 16)) = self.source(bytes, Type::U32)? else {
            return Err(self.unsupported("4, 8 or 16 bytes"));
        };
        if let Operand::Name(name) = size
            && let Some(crate::parse::scope::Symbol::Register(_, Type::Pred)) = self.symbol(name)
        {
            return Err(self.unsupported("a predicate in place of the source's size"));
        }
        let size = self.source(size, Type::U32)?;
        let (to, _) = self.address(to)?;
        let (address, _): (Address, _) = self.address(from)?;
        let from = Access {
            space: Space::Global,
            bytes: bytes as usize,
            signed: false,
            strong: false,
            address,
        };
        self.emit(Op::CopyAsync { to, from, size });
        Ok(())
    }
}

/// The new content, of the old one and two operands.
fn atomic_function(name: &str, kind: Type) -> Option<fn(u64, u64, u64) -> u64> {
    macro_rules! integers {
        (|$a:ident, $b:ident| $body:expr) => {
            match kind {
                Type::U32 => |a, b, _| {
                    let ($a, $b) = (a as u32, b as u32);
                    $body as u64
                },
                Type::U64 => |$a, $b, _| $body,
                Type::S32 => |a, b, _| {
                    let ($a, $b) = (a as i32, b as i32);
                    $body as u64
                },
                Type::S64 => |a, b, _| {
                    let ($a, $b) = (a as i64, b as i64);
                    $body as u64
                },
                _ => return None,
            }
        };
    }
    Some(match (name, kind) {
        ("add", Type::F32) => |a, b, _| single::bits(single::value(a) + single::value(b)),
        ("add", Type::F64) => |a, b, _| (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
        ("add", Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) => half_sum(kind)?,
        ("add", _) => integers!(|a, b| a.wrapping_add(b)),
        ("min", _) => integers!(|a, b| a.min(b)),
        ("max", _) => integers!(|a, b| a.max(b)),
        ("and", _) => |a, b, _| a & b,
        ("or", _) => |a, b, _| a | b,
        ("xor", _) => |a, b, _| a ^ b,
        ("exch", _) => |_, b, _| b,
        ("cas", Type::B16) => |a, b, c| if a as u16 == b as u16 { c } else { a },
        ("cas", Type::B32) => |a, b, c| if a as u32 == b as u32 { c } else { a },
        ("cas", Type::B64) => |a, b, c| if a == b { c } else { a },
        ("inc", Type::U32) => |a, b, _| {
            let (a, b) = (a as u32, b as u32);
            u64::from(if a >= b { 0 } else { a + 1 })
        },
        ("dec", Type::U32) => |a, b, _| {
            let (a, b) = (a as u32, b as u32);
            u64::from(if a == 0 || a > b { b } else { a - 1 })
        },
        _ => return None,
    })
}

fn half_sum(kind: Type) -> Option<fn(u64, u64, u64) -> u64> {
    macro_rules! through {
        ($kind:ident) => {
            |a, b, _| match crate::arithmetic::half::plain("add", Type::$kind) {
                Some(Function::Two(function)) => function(a, b),
                _ => a,
            }
        };
    }
    Some(match kind {
        Type::F16 => through!(F16),
        Type::F16x2 => through!(F16x2),
        Type::Bf16 => through!(Bf16),
        Type::Bf16x2 => through!(Bf16x2),
        _ => return None,
    })
}

/// The function of `redux.sync`.
pub(super) fn redux_function(name: &str, kind: Type) -> Option<fn(u64, u64) -> u64> {
    let function = integer::plain(name, kind).or_else(|| integer::bitwise(name, kind));
    match function {
        Some(Function::Two(function)) => Some(function),
        _ => None,
    }
}
