//! Which instructions let the lanes of a warp talk to each other?

use super::Body;
use super::memory::redux_function;
use crate::error::Result;
use crate::instruction::{Op, Register, Shuffle, ShuffleKind, VoteKind};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::types::Type;

impl<'t> Body<'_, 't> {
    /// `d` or `d|p`.
    fn with_predicate(&mut self, operand: &Operand<'t>) -> Result<(Register, Option<Register>)> {
        match *operand {
            Operand::Pair(to, predicate) => Ok((
                self.register(&Operand::Name(to))?,
                Some(self.register(&Operand::Name(predicate))?),
            )),
            _ => Ok((self.register(operand)?, None)),
        }
    }

    fn synchronous(&self, opcode: &mut Opcode<'t>) -> Result<()> {
        match opcode.take("sync") {
            true => Ok(()),
            false => Err(self.unsupported("only with `.sync`")),
        }
    }

    /// `shfl.sync.bfly.b32 d|p, a, b, c, mask`
    pub(super) fn shuffle(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        self.synchronous(&mut opcode)?;
        let kind = match opcode.take_one(&["up", "down", "bfly", "idx"]) {
            Some("up") => ShuffleKind::Up,
            Some("down") => ShuffleKind::Down,
            Some("bfly") => ShuffleKind::Butterfly,
            Some(_) => ShuffleKind::Index,
            None => return Err(self.unsupported("unknown form of a shuffle")),
        };
        opcode.take("b32");
        self.finished(&opcode)?;
        let [to, from, lane, clamp, mask] = self.exactly(operands)?;
        let (to, predicate) = self.with_predicate(to)?;
        let shuffle = Shuffle {
            kind,
            to,
            predicate,
            from: self.source(from, Type::B32)?,
            lane: self.source(lane, Type::B32)?,
            clamp: self.source(clamp, Type::B32)?,
            mask: self.source(mask, Type::B32)?,
        };
        self.emit(Op::Shuffle(Box::new(shuffle)));
        Ok(())
    }

    /// `vote.sync.ballot.b32 d, p, mask`
    pub(super) fn vote(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        self.synchronous(&mut opcode)?;
        let kind = match opcode.take_one(&["all", "any", "uni", "ballot"]) {
            Some("all") => VoteKind::All,
            Some("any") => VoteKind::Any,
            Some("uni") => VoteKind::Uniform,
            Some(_) => VoteKind::Ballot,
            None => return Err(self.unsupported("unknown form of a vote")),
        };
        opcode.ignore(&["pred", "b32"]);
        self.finished(&opcode)?;
        let [to, predicate, mask] = self.exactly(operands)?;
        let predicate = self.source(predicate, Type::Pred)?;
        let mask = self.source(mask, Type::B32)?;
        let to = self.register(to)?;
        self.emit(Op::Vote {
            kind,
            to,
            predicate,
            mask,
        });
        Ok(())
    }

    /// `match.any.sync.b32 d, a, mask`, `match.all.sync.b32 d|p, a, mask`
    pub(super) fn matching(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        self.synchronous(&mut opcode)?;
        let all = opcode.take_one(&["all", "any"]) == Some("all");
        let Some(kind) = opcode.take_type() else {
            return Err(self.unsupported("unknown type"));
        };
        self.finished(&opcode)?;
        let [to, from, mask] = self.exactly(operands)?;
        let (to, predicate) = self.with_predicate(to)?;
        let from = self.source(from, kind)?;
        let mask = self.source(mask, Type::B32)?;
        self.emit(Op::Match {
            all,
            bytes: kind.bytes(),
            to,
            predicate,
            from,
            mask,
        });
        Ok(())
    }

    /// `redux.sync.add.s32 d, a, mask`
    pub(super) fn redux(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        self.synchronous(&mut opcode)?;
        let name = opcode.take_one(&["add", "min", "max", "and", "or", "xor"]);
        let kind = opcode.take_type();
        self.finished(&opcode)?;
        let found = name.zip(kind).filter(|(_, kind)| kind.is_integer());
        let Some(function) = found.and_then(|(name, kind)| redux_function(name, kind)) else {
            return Err(self.unsupported("unknown reduction"));
        };
        let [to, from, mask] = self.exactly(operands)?;
        let from = self.source(from, Type::B32)?;
        let mask = self.source(mask, Type::B32)?;
        let to = self.register(to)?;
        self.emit(Op::Reduce {
            function,
            to,
            from,
            mask,
        });
        Ok(())
    }

    /// `activemask.b32 d`
    pub(super) fn active_mask(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        opcode.take("b32");
        self.finished(&opcode)?;
        let [to] = self.exactly(operands)?;
        let to = self.register(to)?;
        self.emit(Op::ActiveMask { to });
        Ok(())
    }
}
