//! Which function is an instruction that computes from registers to a register?

use super::Body;
use crate::arithmetic::rounding::Rounding;
use crate::arithmetic::{bits, double, half, integer, single};
use crate::error::Result;
use crate::instruction::{Function, Register, Source};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::types::Type;

/// What surrounds a function of single precision.
#[derive(Clone, Copy, Default)]
pub(super) struct Around {
    pub(super) flush: bool,
    pub(super) saturate: bool,
}

impl<'t> Body<'_, 't> {
    pub(super) fn arithmetic(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let Some(kind) = opcode.take_type() else {
            return Err(self.unsupported("unknown instruction"));
        };
        let writes_flag = opcode.take("cc");
        if writes_flag || matches!(opcode.name, "addc" | "subc" | "madc") {
            return self.with_carry((&opcode, writes_flag), kind, operands);
        }
        let mut around = Around::default();
        let function = match kind {
            Type::F32 => {
                around.flush = opcode.take("ftz");
                around.saturate = opcode.take("sat");
                of_single(&mut opcode)
            }
            Type::F64 => {
                opcode.ignore(&["rn", "approx", "ftz"]);
                double::plain(opcode.name)
            }
            Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2 => {
                opcode.ignore(&["rn", "approx"]);
                let relu = opcode.take("relu") && opcode.name == "fma";
                half::plain(if relu { "fma.relu" } else { opcode.name }, kind)
            }
            _ => of_integer(&mut opcode, kind),
        };
        let Some(function) = function else {
            return Err(self.unsupported("unknown instruction"));
        };
        self.finished(&opcode)?;
        let Some((to, from)) = operands.split_first() else {
            return Err(self.unsupported("takes operands"));
        };
        let to = self.register(to)?;
        let mut sources = Vec::new();
        for operand in from {
            sources.push(self.source(operand, kind)?);
        }
        self.apply_around(function, around, to, sources)
    }

    /// The function, with subnormal numbers as zeros and the result between 0 and 1 where wanted.
    pub(super) fn apply_around(
        &mut self,
        function: Function,
        around: Around,
        to: Register,
        mut from: Vec<Source>,
    ) -> Result<()> {
        let flush = Function::One(single::flush);
        if around.flush {
            for source in &mut from {
                *source = self.computed(flush, &[*source])?;
            }
        }
        let mut last = function;
        if around.flush {
            from = vec![self.computed(last, &from)?];
            last = flush;
        }
        if around.saturate {
            from = vec![self.computed(last, &from)?];
            last = Function::One(single::saturate);
        }
        self.apply(last, to, &from)
    }

    /// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.lo.cc`, `madc.hi` and the like.
    fn with_carry(
        &mut self,
        (opcode, writes_flag): (&Opcode<'t>, bool),
        kind: Type,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let kind = match kind.bytes() {
            8 => Type::U64,
            _ => Type::U32,
        };
        let (name, with) = match opcode.name {
            "addc" => ("add", true),
            "subc" => ("sub", true),
            "madc" => ("mad", true),
            name => (name, false),
        };
        let to = self.register(operands.first().unwrap_or(&Operand::Name("")))?;
        let mut from = Vec::new();
        for operand in &operands[1..] {
            from.push(self.source(operand, kind)?);
        }
        let (mut name, mut opcode) = (name, opcode.clone());
        if let ("mad", Some(part), [a, b, c]) = (name, opcode.take_one(&["lo", "hi"]), &from[..])
            && let Some(function) = integer::product("mul", part, kind)
        {
            from = vec![self.computed(function, &[*a, *b])?, *c];
            name = "add";
        }
        self.finished(&opcode)?;
        let flag = match self.carry {
            Some(flag) => flag,
            None => self.fresh(),
        };
        self.carry = Some(flag);
        let before = match (with, name) {
            (true, _) => Source::Register(flag),
            (false, name) => Source::Value(u64::from(name == "sub")),
        };
        let Some([value, carry]) = integer::with_carry(name, kind) else {
            return Err(self.unsupported("unknown instruction with a carry"));
        };
        let [a, b] = from[..] else {
            return Err(self.unsupported("the number of operands"));
        };
        let value = self.computed(value, &[a, b, before])?;
        if writes_flag {
            self.apply(carry, flag, &[a, b, before])?;
        }
        self.apply(Function::One(|a| a), to, &[value])
    }
}

fn of_single(opcode: &mut Opcode<'_>) -> Option<Function> {
    if opcode.name == "min" || opcode.name == "max" {
        return match opcode.take("NaN") {
            true => single::extreme_with_nan(opcode.name),
            false => single::plain(opcode.name),
        };
    }
    if opcode.take_one(&["approx", "full"]).is_some() {
        return single::plain(opcode.name);
    }
    if matches!(opcode.name, "neg" | "abs" | "copysign") {
        return single::plain(opcode.name);
    }
    let rounding = opcode.take_one(&["rn", "rz", "rm", "rp"]).unwrap_or("rn");
    single::rounded(opcode.name, Rounding::parse(rounding)?)
}

fn of_integer(opcode: &mut Opcode<'_>, kind: Type) -> Option<Function> {
    let name = opcode.name;
    if let "mul" | "mad" = name {
        let part = opcode.take_one(&["lo", "hi", "wide"])?;
        return integer::product(name, part, kind);
    }
    if opcode.take("sat") {
        return integer::saturating(name, kind);
    }
    let part = match name {
        "shf" => Some(
            match (
                opcode.take_one(&["l", "r"])?,
                opcode.take_one(&["wrap", "clamp"])?,
            ) {
                ("l", "wrap") => "l.wrap",
                ("l", _) => "l.clamp",
                (_, "wrap") => "r.wrap",
                _ => "r.clamp",
            },
        ),
        "dp4a" => Some(match (kind, opcode.take_type()?) {
            (Type::U32, Type::U32) => "u32.u32",
            (Type::U32, _) => "u32.s32",
            (_, Type::U32) => "s32.u32",
            _ => "s32.s32",
        }),
        _ => opcode.take_one(&["shiftamt"]),
    };
    bits::choose(name, part, kind)
        .or_else(|| integer::plain(name, kind))
        .or_else(|| integer::bitwise(name, kind))
}
