//! Which steps move values: between registers, parts of registers, address spaces?

use super::Body;
use crate::error::Result;
use crate::instruction::{Function, Register, Source};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::parse::scope::Symbol;
use crate::types::{Space, Type};

impl<'t> Body<'_, 't> {
    pub(super) fn mov(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let Some(kind) = opcode.take_type() else {
            return Err(self.unsupported("unknown type"));
        };
        self.finished(&opcode)?;
        match self.exactly(operands)? {
            [Operand::Vector(parts), from] => {
                let from = self.source(from, kind)?;
                self.unpack(kind, parts, from)
            }
            [to, Operand::Vector(parts)] => {
                let to = self.register(to)?;
                self.pack(kind, to, parts)
            }
            [to, from] => {
                let from = self.source(from, kind)?;
                let to = self.register(to)?;
                self.apply(Function::One(|a| a), to, &[from])
            }
        }
    }

    /// `mov.b64 {a, b}, r`
    fn unpack(&mut self, kind: Type, parts: &[Operand<'t>], from: Source) -> Result<()> {
        let bits = 8 * kind.bytes() / parts.len().max(1);
        // A part may be the register that is taken apart.
        let whole = self.computed(Function::One(|a| a), &[from])?;
        let part = Function::Three(|a, at, bits| a >> at & (u64::MAX >> (64 - bits)));
        for (index, operand) in parts.iter().enumerate() {
            let to = self.register(operand)?;
            let at = Source::Value((index * bits) as u64);
            self.apply(part, to, &[whole, at, Source::Value(bits as u64)])?;
        }
        Ok(())
    }

    /// `mov.b64 r, {a, b}`
    fn pack(&mut self, kind: Type, to: Register, parts: &[Operand<'t>]) -> Result<()> {
        let bits = 8 * kind.bytes() / parts.len().max(1);
        let insert = Function::Four(|all, a, at, bits| all | (a & (u64::MAX >> (64 - bits))) << at);
        let mut all = Source::Value(0);
        for (index, operand) in parts.iter().enumerate() {
            let part = self.source(operand, Type::B64)?;
            let at = Source::Value((index * bits) as u64);
            all = self.computed(insert, &[all, part, at, Source::Value(bits as u64)])?;
        }
        self.apply(Function::One(|a| a), to, &[all])
    }

    /// The window of the space that `cvta` names.
    fn window(&self, space: Space, operand: &Operand<'t>) -> Result<u64> {
        let symbol = match operand {
            Operand::Name(name) => self.symbol(name),
            _ => None,
        };
        let space = match (space, symbol) {
            (Space::Parameter, Some(Symbol::Memory { space, .. })) => space,
            (Space::Parameter, _) => Space::Argument,
            _ => space,
        };
        space
            .window()
            .ok_or_else(|| self.unsupported("this space has no generic addresses"))
    }

    /// `cvta.shared.u64 d, a`, `cvta.to.global.u64 d, a`
    pub(super) fn cvta(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let away = opcode.take("to");
        let space = opcode.take_space();
        let kind = opcode.take_type();
        self.finished(&opcode)?;
        if kind != Some(Type::U64) {
            return Err(self.unsupported("addresses have 64 bits"));
        }
        let [to, from] = self.exactly(operands)?;
        let window = Source::Value(self.window(space, from)?);
        let from = self.source(from, Type::U64)?;
        let to = self.register(to)?;
        let shift = match away {
            true => Function::Two(|a, window| a.wrapping_sub(window)),
            false => Function::Two(|a, window| a.wrapping_add(window)),
        };
        self.apply(shift, to, &[from, window])
    }

    /// `isspacep.shared p, a`
    pub(super) fn isspacep(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let space = opcode.take_space();
        self.finished(&opcode)?;
        let function = match space {
            Space::Global => Function::One(|a| u64::from(Space::of(a).0 == Space::Global)),
            Space::Shared => Function::One(|a| u64::from(Space::of(a).0 == Space::Shared)),
            Space::Local => Function::One(|a| u64::from(Space::of(a).0 == Space::Local)),
            Space::Constant => Function::One(|a| u64::from(Space::of(a).0 == Space::Constant)),
            _ => return Err(self.unsupported("unknown space")),
        };
        let [to, from] = self.exactly(operands)?;
        let from = self.source(from, Type::U64)?;
        let to = self.register(to)?;
        self.apply(function, to, &[from])
    }
}
