//! Parses an instruction from its name and operands.
//!
//! Only the instructions that NVRTC makes of the kernels of this workspace are supported. To add one
//! that touches registers only, add a line to [`crate::arithmetic`].

use super::body::Body;
use super::operand::Operand;
use crate::arithmetic::{binary_function, function};
use crate::error::Result;
use crate::instruction::{
    Access, Action, Address, Element, Function, Op, Product, Register, Shuffle, Source,
};
use crate::types::{Space, Type};

type Operands<'o, 't> = &'o [Operand<'t>];

impl<'t> Body<'_, 't> {
    /// Parses one instruction.
    pub(super) fn instruction(&mut self, name: &str, operands: Operands<'_, 't>) -> Result<Op> {
        match name {
            "bra" | "bra.uni" => match self.exactly(operands)? {
                [Operand::Name(label)] => Ok(self.branch(label)),
                _ => Err(self.unsupported("a label is expected")),
            },
            "ret" => self.exactly(operands).map(|[]| Op::Exit),
            "trap" => self.exactly(operands).map(|[]| Op::Trap),
            "bar.sync" => match self.exactly(operands)? {
                [Operand::Number(0)] => Ok(Op::Barrier),
                _ => Err(self.unsupported("only barrier 0 is supported")),
            },
            "bar.warp.sync" => {
                let [members] = self.exactly(operands)?;
                self.collective(members, Action::Barrier)
            }
            "shfl.sync.bfly.b32" => self.shuffle(operands),
            "cp.async.cg.shared.global" => self.copy(operands),
            "cp.async.commit_group" => self.exactly(operands).map(|[]| Op::CopyCommit),
            "cp.async.wait_group" => match self.exactly(operands)? {
                [Operand::Number(left)] => Ok(Op::CopyWait(*left as usize)),
                _ => Err(self.unsupported("a number is expected")),
            },
            "ldmatrix.sync.aligned.m8n8.x2.shared.b16" => self.load_matrix::<2>(operands),
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16" => self.load_matrix::<4>(operands),
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" => {
                self.multiply(Element::F16, operands)
            }
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => {
                self.multiply(Element::Bf16, operands)
            }
            _ => self.typed(name, operands),
        }
    }

    /// An instruction whose name ends with a type.
    fn typed(&mut self, name: &str, operands: Operands<'_, 't>) -> Result<Op> {
        let parts = name.rsplit_once('.');
        let Some((name, kind)) = parts.and_then(|(name, kind)| Some((name, Type::parse(kind)?)))
        else {
            return Err(self.unsupported("unknown instruction"));
        };
        match name {
            "ld.param" => self.load_parameter(kind, operands),
            "ld.global" => self.load(Space::Global, kind, operands),
            "ld.shared" => self.load(Space::Shared, kind, operands),
            "st.global" => self.store(Space::Global, kind, operands),
            "st.shared" => self.store(Space::Shared, kind, operands),
            _ => {
                if let Some(operation) = name.strip_prefix("atom.global.") {
                    self.atomic(operation, Space::Global, kind, operands)
                } else if let Some(operation) = name.strip_prefix("atom.shared.") {
                    self.atomic(operation, Space::Shared, kind, operands)
                } else if let Some(operation) = name.strip_prefix("redux.sync.") {
                    self.reduction(operation, kind, operands)
                } else {
                    match function(name, kind) {
                        Some(function) => self.apply(function, operands),
                        None => Err(self.unsupported("unknown instruction")),
                    }
                }
            }
        }
    }

    /// The operands, if there are exactly `N`.
    fn exactly<'o, const N: usize>(
        &self,
        operands: Operands<'o, 't>,
    ) -> Result<&'o [Operand<'t>; N]> {
        let found = operands.len();
        operands
            .try_into()
            .map_err(|_| self.unsupported(format!("takes {N} operands, found {found}")))
    }

    /// The register that an operand names.
    fn register(&self, operand: &Operand<'t>) -> Result<Register> {
        match operand {
            Operand::Name(name) => self.own_register(name),
            _ => Err(self.unsupported("a register is expected as destination")),
        }
    }

    /// The value of an operand.
    fn source(&self, operand: &Operand<'t>) -> Result<Source> {
        match operand {
            Operand::Name(name) => self.named(name),
            Operand::Number(bits) => Ok(Source::Value(*bits)),
            _ => Err(self.unsupported("a register or a number is expected")),
        }
    }

    fn sources<const N: usize>(&self, operands: Operands<'_, 't>) -> Result<[Source; N]> {
        let mut sources = [Source::Value(0); N];
        for (source, operand) in sources.iter_mut().zip(self.exactly::<N>(operands)?) {
            *source = self.source(operand)?;
        }
        Ok(sources)
    }

    fn vector<'o>(&self, operand: &'o Operand<'t>) -> Result<Operands<'o, 't>> {
        match operand {
            Operand::Vector(items) => Ok(items),
            _ => Err(self.unsupported("registers between braces are expected")),
        }
    }

    fn registers<const N: usize>(&self, operand: &Operand<'t>) -> Result<[Register; N]> {
        let mut registers = [0; N];
        let items = self.exactly::<N>(self.vector(operand)?)?;
        for (register, item) in registers.iter_mut().zip(items) {
            *register = self.register(item)?;
        }
        Ok(registers)
    }

    fn address(&self, operand: &Operand<'t>) -> Result<Address> {
        match operand {
            Operand::Address(base, offset) => Ok(Address {
                base: self.source(base)?,
                offset: *offset,
            }),
            _ => Err(self.unsupported("an address is expected")),
        }
    }

    /// An instruction that writes a function of its operands to a register.
    fn apply(&self, function: Function, operands: Operands<'_, 't>) -> Result<Op> {
        let Some((to, from)) = operands.split_first() else {
            return Err(self.unsupported("takes operands"));
        };
        let to = self.register(to)?;
        Ok(match function {
            Function::One(function) => {
                let [from] = self.sources(from)?;
                Op::One { function, to, from }
            }
            Function::Two(function) => {
                let from = self.sources(from)?;
                Op::Two { function, to, from }
            }
            Function::Three(function) => {
                let from = self.sources(from)?;
                Op::Three { function, to, from }
            }
            Function::Four(function) => {
                let from = self.sources(from)?;
                Op::Four { function, to, from }
            }
        })
    }

    /// `ld.param.u64 %rd1, [name]`: a move, because parameters are held in registers.
    fn load_parameter(&self, kind: Type, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, Operand::Address(base, 0)] = self.exactly(operands)? else {
            return Err(self.unsupported("only whole parameters can be read"));
        };
        let parameter = match **base {
            Operand::Name(name) => self.parameters.get(name),
            _ => None,
        };
        match parameter {
            Some(&(register, bytes)) if kind.bytes() == Some(bytes) => Ok(Op::One {
                function: |a| a,
                to: self.register(to)?,
                from: Source::Register(register),
            }),
            _ => Err(self.unsupported("no parameter of this name and width")),
        }
    }

    fn access(&self, space: Space, kind: Type, address: &Operand<'t>) -> Result<Access> {
        let Some(bytes) = kind.bytes() else {
            return Err(self.unsupported("predicates are in registers only"));
        };
        Ok(Access {
            space,
            bytes,
            address: self.address(address)?,
        })
    }

    fn load(&self, space: Space, kind: Type, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, address] = self.exactly(operands)?;
        Ok(Op::Load {
            access: self.access(space, kind, address)?,
            to: self.register(to)?,
        })
    }

    fn store(&self, space: Space, kind: Type, operands: Operands<'_, 't>) -> Result<Op> {
        let [address, from] = self.exactly(operands)?;
        Ok(Op::Store {
            access: self.access(space, kind, address)?,
            from: self.source(from)?,
        })
    }

    /// `atom.global.add.u64 %rd1, [%rd2], %rd3`
    fn atomic(
        &self,
        operation: &str,
        space: Space,
        kind: Type,
        operands: Operands<'_, 't>,
    ) -> Result<Op> {
        let [to, address, from] = self.exactly(operands)?;
        let Some(function) = binary_function(operation, kind) else {
            return Err(self.unsupported("unknown operation"));
        };
        Ok(Op::Atomic {
            access: self.access(space, kind, address)?,
            function,
            to: self.register(to)?,
            from: self.source(from)?,
        })
    }

    /// `cp.async.cg.shared.global [%r1], [%rd1], 16`
    fn copy(&self, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, from, Operand::Number(16)] = self.exactly(operands)? else {
            return Err(self.unsupported("only copies of 16 bytes are supported"));
        };
        Ok(Op::CopyAsync {
            to: self.address(to)?,
            from: self.address(from)?,
        })
    }

    fn collective(&self, members: &Operand<'t>, action: Action) -> Result<Op> {
        Ok(Op::Collective {
            members: self.source(members)?,
            action,
        })
    }

    /// `shfl.sync.bfly.b32 %r1|%p1, %r2, lane, clamp, members`
    fn shuffle(&self, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, from, lane, clamp, members] = self.exactly(operands)?;
        let (to, predicate) = match to {
            Operand::Pair(to, predicate) => {
                (self.own_register(to)?, Some(self.own_register(predicate)?))
            }
            to => (self.register(to)?, None),
        };
        let shuffle = Shuffle {
            to,
            predicate,
            from: self.source(from)?,
            lane: self.source(lane)?,
            clamp: self.source(clamp)?,
        };
        self.collective(members, Action::Shuffle(shuffle))
    }

    /// `redux.sync.add.u32 %r1, %r2, members`
    fn reduction(&self, operation: &str, kind: Type, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, from, members] = self.exactly(operands)?;
        let function = binary_function(operation, kind).filter(|_| kind.bytes() == Some(4));
        let Some(function) = function else {
            return Err(self.unsupported("unknown operation"));
        };
        let action = Action::Reduce {
            function,
            to: self.register(to)?,
            from: self.source(from)?,
        };
        self.collective(members, action)
    }

    fn load_matrix<const N: usize>(&self, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, address] = self.exactly(operands)?;
        let action = Action::LoadMatrix {
            address: self.address(address)?,
            to: self.registers::<N>(to)?.to_vec(),
        };
        Ok(whole_warp(action))
    }

    fn multiply(&self, element: Element, operands: Operands<'_, 't>) -> Result<Op> {
        let [to, left, right, plus] = self.exactly(operands)?;
        let product = Product {
            element,
            to: self.registers(to)?,
            left: self.sources(self.vector(left)?)?,
            right: self.sources(self.vector(right)?)?,
            plus: self.sources(self.vector(plus)?)?,
        };
        Ok(whole_warp(Action::Multiply(Box::new(product))))
    }
}

/// A collective instruction of all 32 lanes.
fn whole_warp(action: Action) -> Op {
    Op::Collective {
        members: Source::Value(u64::from(u32::MAX)),
        action,
    }
}
