//! Which steps is a conversion made of?

use super::Body;
use super::arithmetic::Around;
use crate::arithmetic::rounding::Rounding;
use crate::arithmetic::{convert, single};
use crate::error::Result;
use crate::instruction::{Function, Register, Source};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::types::Type;

/// A conversion's types and modifiers.
struct Conversion<'m> {
    to: Type,
    from: Type,
    rounding: Option<&'m str>,
    around: Around,
}

const ROUNDINGS: &[&str] = &["rni", "rzi", "rmi", "rpi", "rna", "rn", "rz", "rm", "rp"];

impl<'t> Body<'_, 't> {
    pub(super) fn cvt(&mut self, mut opcode: Opcode<'t>, operands: &[Operand<'t>]) -> Result<()> {
        let rounding = opcode.take_one(ROUNDINGS);
        let rectified = opcode.take("relu");
        let around = Around {
            flush: opcode.take("ftz"),
            saturate: opcode.take("sat"),
        };
        let (Some(to), Some(from)) = (opcode.take_type(), opcode.take_type()) else {
            return Err(self.unsupported("two types are expected"));
        };
        self.finished(&opcode)?;
        let paired = matches!(to, Type::F16x2 | Type::Bf16x2);
        if rectified && !paired {
            return Err(self.unsupported("`.relu` of a single number"));
        }
        if paired {
            let [target, a, b] = self.exactly(operands)?;
            let from = [self.source(a, from)?, self.source(b, from)?];
            let register = self.register(target)?;
            return match convert::pair(to, rectified).filter(|_| rounding == Some("rn")) {
                Some(function) => self.apply(function, register, &from),
                None => Err(self.unsupported("only `.rn` of pairs")),
            };
        }
        let [target, source] = self.exactly(operands)?;
        let source = self.source(source, from)?;
        let target = self.register(target)?;
        let conversion = Conversion {
            to,
            from,
            rounding,
            around,
        };
        match (to.is_integer(), from.is_integer()) {
            (true, true) => self.between_integers(&conversion, target, source),
            (false, true) => self.integer_to_float(&conversion, target, source),
            (true, false) => self.float_to_integer(&conversion, target, source),
            (false, false) => self.between_floats(&conversion, target, source),
        }
    }

    fn extended(&mut self, kind: Type, from: Source) -> Result<Source> {
        match convert::extension(kind) {
            Some(function) => self.computed(Function::One(function), &[from]),
            None => Err(self.unsupported("unknown type")),
        }
    }

    fn between_integers(
        &mut self,
        conversion: &Conversion<'_>,
        target: Register,
        source: Source,
    ) -> Result<()> {
        let Conversion { to, from, .. } = *conversion;
        if !conversion.around.saturate {
            let kind = if to.bytes() <= from.bytes() { to } else { from };
            let Some(function) = convert::extension(kind) else {
                return Err(self.unsupported("unknown type"));
            };
            return self.apply(Function::One(function), target, &[source]);
        }
        let value = self.extended(from, source)?;
        let ((least, largest), (own_least, own_largest)) =
            (convert::range(to), convert::range(from));
        let (least, largest) = (least.max(own_least), largest.min(own_largest));
        let bounds = [Source::Value(least as u64), Source::Value(largest as u64)];
        match from.is_signed() {
            true => {
                let function = Function::Three(convert::clamp_signed);
                self.apply(function, target, &[value, bounds[0], bounds[1]])
            }
            false => {
                let function = Function::Two(convert::clamp_unsigned);
                self.apply(function, target, &[value, bounds[1]])
            }
        }
    }

    fn direction(&self, rounding: Option<&str>) -> Result<Rounding> {
        Rounding::parse(rounding.unwrap_or("rn"))
            .ok_or_else(|| self.unsupported("unknown rounding"))
    }

    fn integer_to_float(
        &mut self,
        conversion: &Conversion<'_>,
        target: Register,
        source: Source,
    ) -> Result<()> {
        let Conversion { to, from, .. } = *conversion;
        let value = self.extended(from, source)?;
        let mut rounding = self.direction(conversion.rounding)?;
        if to == Type::F64 && from.bytes() < 8 {
            // Exact, whatever the direction.
            rounding = Rounding::Nearest;
        }
        let Some(function) = convert::from_integer(to, from.is_signed(), rounding) else {
            return Err(self.unsupported("unknown conversion"));
        };
        let around = Around {
            flush: false,
            ..conversion.around
        };
        if around.saturate && to != Type::F32 {
            return Err(self.unsupported("`.sat` of another type than f32"));
        }
        self.apply_around(function, around, target, vec![value])
    }

    /// The value as a double, which holds any float, flushed where wanted.
    fn widened(&mut self, conversion: &Conversion<'_>, mut source: Source) -> Result<Source> {
        if conversion.around.flush && conversion.from == Type::F32 {
            source = self.computed(Function::One(single::flush), &[source])?;
        }
        match convert::to_double(conversion.from) {
            Some(function) => self.computed(Function::One(function), &[source]),
            None => Err(self.unsupported("unknown conversion")),
        }
    }

    fn float_to_integer(
        &mut self,
        conversion: &Conversion<'_>,
        target: Register,
        source: Source,
    ) -> Result<()> {
        let value = self.widened(conversion, source)?;
        let rounding = conversion.rounding.and_then(convert::whole);
        let function = convert::to_integer(conversion.to, conversion.from);
        let (Some(whole), Some(function)) = (rounding, function) else {
            return Err(self.unsupported("unknown conversion"));
        };
        let value = self.computed(Function::One(whole), &[value])?;
        self.apply(function, target, &[value])
    }

    fn between_floats(
        &mut self,
        conversion: &Conversion<'_>,
        target: Register,
        source: Source,
    ) -> Result<()> {
        if conversion.to == Type::Tf32 {
            let function = match conversion.rounding {
                Some("rna") => convert::to_tf32(false),
                Some("rn") => convert::to_tf32(true),
                _ => return Err(self.unsupported("unknown rounding")),
            };
            return self.apply(Function::One(function), target, &[source]);
        }
        let mut value = self.widened(conversion, source)?;
        let mut rounding = conversion.rounding;
        if let Some(whole) = rounding.and_then(convert::whole) {
            value = self.computed(Function::One(whole), &[value])?;
            rounding = None;
        }
        let direction = self.direction(rounding)?;
        let Some(function) = convert::from_double(conversion.to, direction) else {
            return Err(self.unsupported("unknown conversion"));
        };
        let single = conversion.to == Type::F32;
        if conversion.around.saturate && !single {
            return Err(self.unsupported("`.sat` of another type than f32"));
        }
        let function = Function::One(function);
        if single && conversion.around.flush {
            value = self.computed(function, &[value])?;
            let flush = Function::One(single::flush);
            let around = Around {
                flush: false,
                ..conversion.around
            };
            return self.apply_around(flush, around, target, vec![value]);
        }
        let around = Around {
            flush: false,
            ..conversion.around
        };
        self.apply_around(function, around, target, vec![value])
    }
}
