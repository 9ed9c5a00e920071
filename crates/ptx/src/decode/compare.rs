//! Which steps are comparisons, and choices by them?

use super::Body;
use super::arithmetic::Around;
use crate::arithmetic::{double, half, integer, single};
use crate::error::Result;
use crate::instruction::{Function, Source};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::types::Type;

const COMPARISONS: &[&str] = &[
    "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", "eq", "ne", "lt", "le", "gt", "ge",
    "lo", "ls", "hi", "hs",
];

impl<'t> Body<'_, 't> {
    /// The result of a comparison of two operands, 1 or 0; for pairs, the lower and the upper one.
    fn compared(
        &mut self,
        opcode: &mut Opcode<'t>,
        kind: Type,
        operands: [&Operand<'t>; 2],
    ) -> Result<[Source; 2]> {
        let Some(comparison) = opcode.take_one(COMPARISONS) else {
            return Err(self.unsupported("unknown comparison"));
        };
        let flush = opcode.take("ftz");
        let mut from = Vec::new();
        for operand in operands {
            from.push(self.source(operand, kind)?);
        }
        let element = match kind {
            Type::F16x2 => Type::F16,
            Type::Bf16x2 => Type::Bf16,
            other => other,
        };
        let function = match element {
            Type::F32 | Type::F16 | Type::Bf16 => single::comparison(comparison),
            Type::F64 => double::comparison(comparison),
            _ => integer::comparison(comparison, element),
        };
        let Some(function) = function else {
            return Err(self.unsupported("unknown comparison"));
        };
        let around = Function::One(single::flush);
        let mut results = Vec::new();
        for half in [0, 16] {
            let mut from = from.clone();
            for source in &mut from {
                if half == 16 && element != kind {
                    let shift = Function::Two(|a, by| a >> by);
                    *source = self.computed(shift, &[*source, Source::Value(half)])?;
                }
                if let Some(widening) = half::widening(element) {
                    *source = self.computed(widening, &[*source])?;
                }
                if flush {
                    *source = self.computed(around, &[*source])?;
                }
            }
            results.push(self.computed(function, &from)?);
            if element == kind {
                break;
            }
        }
        Ok([results[0], results[results.len() - 1]])
    }

    /// `setp.lt.and.f32 p|q, a, b, c`
    pub(super) fn setp(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let Some(kind) = opcode.take_type() else {
            return Err(self.unsupported("unknown type"));
        };
        let combine = opcode.take_one(&["and", "or", "xor"]);
        let (targets, rest) = self.first_operand(operands)?;
        let (operands, with) = match (rest, combine) {
            ([a, b], None) => ([a, b], None),
            ([a, b, c], Some(_)) => ([a, b], Some(self.source(c, Type::Pred)?)),
            _ => return Err(self.unsupported("the number of operands")),
        };
        self.keep_guard()?;
        let [lower, upper] = self.compared(&mut opcode, kind, operands)?;
        self.finished(&opcode)?;
        let (first, second) = match targets {
            Operand::Pair(first, second) => (*first, Some(*second)),
            Operand::Name(first) => (*first, None),
            _ => return Err(self.unsupported("a predicate is expected")),
        };
        let paired = matches!(kind, Type::F16x2 | Type::Bf16x2);
        let other = match paired {
            true => upper,
            false => self.computed(Function::One(|a| a ^ 1), &[lower])?,
        };
        let both = [
            self.combined(combine, lower, with)?,
            self.combined(combine, other, with)?,
        ];
        for (name, value) in [Some(first), second].into_iter().flatten().zip(both) {
            let to = self.register(&Operand::Name(name))?;
            self.apply(Function::One(|a| a), to, &[value])?;
        }
        Ok(())
    }

    fn combined(
        &mut self,
        combine: Option<&str>,
        value: Source,
        with: Option<Source>,
    ) -> Result<Source> {
        let (Some(combine), Some(with)) = (combine, with) else {
            return Ok(value);
        };
        match integer::bitwise(combine, Type::Pred) {
            Some(function) => self.computed(function, &[value, with]),
            None => Err(self.unsupported("unknown combination")),
        }
    }

    pub(super) fn first_operand<'o>(
        &self,
        operands: &'o [Operand<'t>],
    ) -> Result<(&'o Operand<'t>, &'o [Operand<'t>])> {
        operands
            .split_first()
            .ok_or_else(|| self.unsupported("takes operands"))
    }

    /// `set.lt.u32.f32 d, a, b`: all ones, or one as a float.
    pub(super) fn set(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let (Some(to_kind), Some(kind)) = (opcode.take_type(), opcode.take_type()) else {
            return Err(self.unsupported("two types are expected"));
        };
        let [to, a, b] = self.exactly(operands)?;
        let to = self.register(to)?;
        let [lower, upper] = self.compared(&mut opcode, kind, [a, b])?;
        self.finished(&opcode)?;
        let yes = match to_kind {
            Type::U32 | Type::S32 => u64::from(u32::MAX),
            Type::U16 | Type::S16 => u64::from(u16::MAX),
            Type::F32 => single::bits(1.0),
            Type::F16 | Type::F16x2 => 0x3c00,
            Type::Bf16 | Type::Bf16x2 => 0x3f80,
            _ => return Err(self.unsupported("unknown type of result")),
        };
        let times = Function::Two(|a, b| a * b);
        if matches!(to_kind, Type::F16x2 | Type::Bf16x2) {
            let lower = self.computed(times, &[lower, Source::Value(yes)])?;
            let both = Function::Three(|upper, one, lower| ((upper * one) << 16) | lower);
            return self.apply(both, to, &[upper, Source::Value(yes), lower]);
        }
        self.apply(times, to, &[lower, Source::Value(yes)])
    }

    /// `selp.f32 d, a, b, p`
    pub(super) fn selp(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let Some(kind) = opcode.take_type() else {
            return Err(self.unsupported("unknown type"));
        };
        self.finished(&opcode)?;
        let [to, a, b, predicate] = self.exactly(operands)?;
        let from = [
            self.source(a, kind)?,
            self.source(b, kind)?,
            self.source(predicate, Type::Pred)?,
        ];
        let to = self.register(to)?;
        let choose = Function::Three(|a, b, predicate| if predicate & 1 == 1 { a } else { b });
        self.apply(choose, to, &from)
    }

    /// `slct.f32.s32 d, a, b, c`: `a` where `c` is not negative.
    pub(super) fn slct(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let flush = opcode.take("ftz");
        let (Some(kind), Some(by)) = (opcode.take_type(), opcode.take_type()) else {
            return Err(self.unsupported("two types are expected"));
        };
        self.finished(&opcode)?;
        let [to, a, b, c] = self.exactly(operands)?;
        let choose = match by {
            Type::S32 => Function::Three(|a, b, c| if c as i32 >= 0 { a } else { b }),
            Type::F32 => Function::Three(|a, b, c| if single::value(c) >= 0.0 { a } else { b }),
            _ => return Err(self.unsupported("unknown type of the choice")),
        };
        let mut last = self.source(c, by)?;
        if flush {
            last = self.computed(Function::One(single::flush), &[last])?;
        }
        let from = vec![self.source(a, kind)?, self.source(b, kind)?, last];
        let to = self.register(to)?;
        self.apply_around(choose, Around::default(), to, from)
    }

    /// `testp.infinite.f32 p, a`
    pub(super) fn testp(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let properties = [
            "finite",
            "infinite",
            "number",
            "notanumber",
            "normal",
            "subnormal",
        ];
        let property = opcode.take_one(&properties);
        let kind = opcode.take_type();
        self.finished(&opcode)?;
        let (Some(function), Some(Type::F32)) = (property.and_then(single::test), kind) else {
            return Err(self.unsupported("unknown property, or not of f32"));
        };
        let [to, from] = self.exactly(operands)?;
        let from = self.source(from, Type::F32)?;
        let to = self.register(to)?;
        self.apply(function, to, &[from])
    }
}
