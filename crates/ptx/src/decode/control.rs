//! Where does an instruction lead, and for whom does it wait?

use super::Body;
use crate::error::Result;
use crate::instruction::{BarrierKind, BarrierVote, Op, Source};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::parse::scope::{PendingCall, Slot, Symbol, copies};
use crate::types::{Space, Type};

impl<'t> Body<'_, 't> {
    pub(super) fn control(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        opcode.take("uni");
        match (opcode.name, operands) {
            ("bra", [Operand::Name(label)]) => self.jump(Op::Branch(0), vec![label]),
            ("brx", [index, Operand::Name(table)]) if opcode.take("idx") => {
                let index = self.source(index, Type::U32)?;
                let Some(labels) = self.table(table) else {
                    return Err(self.unsupported("no such list of targets"));
                };
                let targets = Vec::new();
                self.jump(Op::BranchIndexed { index, targets }, labels);
            }
            ("call", _) => self.call(operands)?,
            ("ret", []) => self.leave(),
            ("exit", []) => self.emit(Op::Exit),
            ("trap", []) => self.emit(Op::Trap),
            _ => return Err(self.unsupported("unknown form of this instruction")),
        }
        self.finished(&opcode)
    }

    /// `call.uni (result), name, (a, b)`
    fn call(&mut self, operands: &[Operand<'t>]) -> Result<()> {
        let (results, rest) = match operands {
            [Operand::List(results), rest @ ..] => (results.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let (name, arguments) = match rest {
            [Operand::Name(name)] => (*name, &[][..]),
            [Operand::Name(name), Operand::List(arguments)] => (*name, arguments.as_slice()),
            _ => return Err(self.unsupported("unknown form of a call")),
        };
        if name == "__assertfail" {
            self.emit(Op::Trap);
            return Ok(());
        }
        let Some(signature) = self.program.signatures.get(name).cloned() else {
            return Err(self.unsupported("only functions of the module are called"));
        };
        let given = self.slots(arguments)?;
        let wanted = self.slots(results)?;
        let into = copies(&signature.parameters, &given);
        let back = copies(&wanted, &signature.results);
        let (Some(copies), Some(results)) = (into, back) else {
            return Err(self.unsupported("the function takes or gives something else"));
        };
        self.program.calls.push(PendingCall {
            at: self.program.code.len(),
            caller: self.name.map(str::to_owned),
            callee: name.to_owned(),
            line: self.line,
        });
        self.emit(Op::Call {
            target: 0,
            copies,
            back: signature.back,
        });
        self.emit(Op::CopyParameters(results));
        Ok(())
    }

    /// Where `.param` variables lie.
    fn slots(&self, operands: &[Operand<'t>]) -> Result<Vec<Slot>> {
        operands
            .iter()
            .map(|operand| {
                if let Operand::Name(name) = operand
                    && let Some(Symbol::Memory {
                        space: Space::Parameter,
                        address,
                    }) = self.symbol(name)
                    && let Some(&bytes) = self.sizes.get(&address)
                {
                    return Ok(Slot {
                        offset: address,
                        bytes,
                    });
                }
                Err(self.unsupported("`.param` variables are expected"))
            })
            .collect()
    }

    /// `bar.sync 0`, `bar.red.popc.u32 d, 0, p`, `bar.warp.sync m`, `barrier.sync 1, 64`
    pub(super) fn barrier(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        if opcode.take("warp") {
            let [mask] = self.exactly(operands)?;
            let mask = self.source(mask, Type::B32)?;
            opcode.take("sync");
            self.emit(Op::WarpBarrier { mask });
            return self.finished(&opcode);
        }
        opcode.take("cta");
        let aligned = opcode.take("aligned") || opcode.name == "bar";
        if opcode.take("red") {
            return self.barrier_reduction(opcode, operands);
        }
        let kind = match opcode.take_one(&["sync", "arrive"]) {
            Some("sync") => BarrierKind::Wait,
            Some(_) if operands.len() == 2 => BarrierKind::Arrive,
            _ => return Err(self.unsupported("unknown form of a barrier")),
        };
        self.finished(&opcode)?;
        let (id, count) = match operands {
            [id] => (id, None),
            [id, count] => (id, Some(self.source(count, Type::U32)?)),
            _ => return Err(self.unsupported("the number of operands")),
        };
        let id = self.source(id, Type::U32)?;
        self.emit(Op::Barrier {
            id,
            count,
            kind,
            aligned,
        });
        Ok(())
    }

    fn barrier_reduction(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let vote = match opcode.take_one(&["popc", "and", "or"]) {
            Some("popc") => BarrierVote::Count,
            Some("and") => BarrierVote::And,
            Some(_) => BarrierVote::Or,
            None => return Err(self.unsupported("unknown reduction")),
        };
        opcode.take_type();
        let aligned = true;
        self.finished(&opcode)?;
        let (to, id, count, predicate) = match operands {
            [to, id, predicate] => (to, id, None, predicate),
            [to, id, count, predicate] => (to, id, Some(count), predicate),
            _ => return Err(self.unsupported("the number of operands")),
        };
        let count: Option<Source> = match count {
            Some(count) => Some(self.source(count, Type::U32)?),
            None => None,
        };
        let id = self.source(id, Type::U32)?;
        let predicate = self.source(predicate, Type::Pred)?;
        let to = self.register(to)?;
        let kind = BarrierKind::Reduce {
            vote,
            predicate,
            to,
        };
        self.emit(Op::Barrier {
            id,
            count,
            kind,
            aligned,
        });
        Ok(())
    }
}
