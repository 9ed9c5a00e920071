//! Which matrix instructions are there, and how many registers does each take?

use super::Body;
use crate::error::Result;
use crate::instruction::{Element, Op, Product};
use crate::parse::opcode::Opcode;
use crate::parse::operand::Operand;
use crate::types::{Space, Type};

impl<'t> Body<'_, 't> {
    /// `ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {a, b, c, d}, [p]`
    pub(super) fn load_matrix(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let plain = opcode.take("sync") && opcode.take("aligned") && opcode.take("m8n8");
        let count = match opcode.take_one(&["x1", "x2", "x4"]) {
            Some("x1") => 1,
            Some("x2") => 2,
            Some(_) => 4,
            None => 0,
        };
        let transposed = opcode.take("trans");
        let space = opcode.take_space();
        let kind = opcode.take_type();
        self.finished(&opcode)?;
        let [to, address] = self.exactly(operands)?;
        let to = self.registers_of(to)?;
        let (address, _) = self.address(address)?;
        let known = plain && space == Space::Shared && kind == Some(Type::B16);
        if !known || to.len() != count {
            return Err(self.unsupported("unknown form of ldmatrix"));
        }
        self.emit(Op::LoadMatrix {
            address,
            transposed,
            to,
        });
        Ok(())
    }

    /// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 d, a, b, c`
    pub(super) fn multiply_matrix(
        &mut self,
        mut opcode: Opcode<'t>,
        operands: &[Operand<'t>],
    ) -> Result<()> {
        let shape = opcode.take_one(&["m16n8k16", "m16n8k8", "m16n8k4"]);
        let plain = opcode.take("sync")
            && opcode.take("aligned")
            && opcode.take("row")
            && opcode.take("col");
        let types = [(); 4].map(|()| opcode.take_type());
        self.finished(&opcode)?;
        let found = match (shape, types) {
            (Some(shape), [Some(Type::F32), Some(left), Some(right), Some(Type::F32)])
                if plain && left == right =>
            {
                layout(shape, left)
            }
            _ => None,
        };
        let Some((element, depth, counts)) = found else {
            return Err(self.unsupported("unknown form of mma"));
        };
        let [to, left, right, plus] = self.exactly(operands)?;
        let product = Product {
            element,
            depth,
            to: self.registers_of(to)?,
            left: self.sources_of(left, Type::B32)?,
            right: self.sources_of(right, Type::B32)?,
            plus: self.sources_of(plus, Type::F32)?,
        };
        let given = [product.left.len(), product.right.len()];
        if given != counts || product.to.len() != 4 || product.plus.len() != 4 {
            return Err(self.unsupported("the number of registers"));
        }
        self.emit(Op::MultiplyMatrix(Box::new(product)));
        Ok(())
    }
}

/// The element, the depth, and the registers of the left and the right matrix.
fn layout(shape: &str, kind: Type) -> Option<(Element, usize, [usize; 2])> {
    Some(match (shape, kind) {
        ("m16n8k16", Type::F16) => (Element::F16, 16, [4, 2]),
        ("m16n8k16", Type::Bf16) => (Element::Bf16, 16, [4, 2]),
        ("m16n8k8", Type::F16) => (Element::F16, 8, [2, 1]),
        ("m16n8k8", Type::Bf16) => (Element::Bf16, 8, [2, 1]),
        ("m16n8k8", Type::Tf32) => (Element::Tf32, 8, [4, 2]),
        ("m16n8k4", Type::Tf32) => (Element::Tf32, 4, [2, 1]),
        _ => return None,
    })
}
