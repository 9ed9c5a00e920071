//! Matrix instructions of a warp: `ldmatrix` and `mma.sync`.
//!
//! Products of two 16-bit floats are exact in double precision; a row times a column plus the
//! accumulator is summed in double precision and rounded to single precision once.
//!
//! # Source
//! PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", and `ldmatrix`.

use half::{bf16, f16};

use super::Step;
use super::access::{LaneAccess, check_alignment, within};
use super::block::Block;
use super::lanes::lanes;
use super::warp::Warp;
use crate::arithmetic::float;
use crate::error::Fault;
use crate::instruction::{Address, Element, Product, Register};
use crate::types::Space;

const ROWS: usize = 16;
const COLUMNS: usize = 8;
/// Columns of the left matrix, rows of the right one.
const DEPTH: usize = 16;

/// Checks that all 32 lanes execute a matrix instruction.
fn expect_whole_warp(present: u32) -> Step<()> {
    match present {
        u32::MAX => Ok(()),
        mask => Err(Fault::PartialWarp { mask }.in_lane(mask.trailing_zeros() as usize)),
    }
}

impl Element {
    /// The number in the lower (0) or upper (1) half of a register.
    fn value(self, register: u64, half: usize) -> f64 {
        let bits = (register >> (16 * half)) as u16;
        match self {
            Self::F16 => f16::from_bits(bits).to_f64(),
            Self::Bf16 => bf16::from_bits(bits).to_f64(),
        }
    }
}

impl Warp {
    /// Executes `mma.sync`: a matrix product plus an accumulator.
    pub(super) fn multiply(&mut self, product: &Product, present: u32) -> Step<()> {
        expect_whole_warp(present)?;
        let element = product.element;
        // The left matrix row by row, the right matrix column by column.
        let mut left = [[0.0; DEPTH]; ROWS];
        let mut right = [[0.0; DEPTH]; COLUMNS];
        for (index, &source) in product.left.iter().enumerate() {
            // Registers 0 and 1 hold rows g and g + 8 of the first 8 columns, registers 2 and 3 the
            // same rows of the last 8 columns.
            let (down, along) = (index % 2, index / 2);
            for (lane, register) in self.values(source).into_iter().enumerate() {
                for half in 0..2 {
                    let inner = lane % 4 * 2 + half + 8 * along;
                    left[lane / 4 + 8 * down][inner] = element.value(register, half);
                }
            }
        }
        for (along, &source) in product.right.iter().enumerate() {
            for (lane, register) in self.values(source).into_iter().enumerate() {
                for half in 0..2 {
                    let inner = lane % 4 * 2 + half + 8 * along;
                    right[lane / 4][inner] = element.value(register, half);
                }
            }
        }
        let plus = product.plus.map(|from| self.values(from));
        for (index, &to) in product.to.iter().enumerate() {
            self.set(to, u32::MAX, |lane| {
                let (row, column) = (lane / 4 + 8 * (index / 2), lane % 4 * 2 + index % 2);
                let terms = left[row].iter().zip(&right[column]);
                let sum: f64 = terms.map(|(a, b)| a * b).sum();
                float::bits((sum + f64::from(float::value(plus[index][lane]))) as f32)
            });
        }
        Ok(())
    }
}

impl Block<'_> {
    /// Executes `ldmatrix.sync`: lane `8m + r` gives the address of row `r` of matrix `m`.
    pub(super) fn load_matrix(
        &mut self,
        warp: &mut Warp,
        present: u32,
        address: Address,
        to: &[Register],
    ) -> Step<()> {
        expect_whole_warp(present)?;
        let base = warp.values(address.base);
        let rows = base.map(|base| within(Space::Shared, base.wrapping_add(address.offset)));
        for (lane, &row) in rows.iter().take(8 * to.len()).enumerate() {
            check_alignment(Space::Shared, row, 16).map_err(|fault| fault.in_lane(lane))?;
        }
        for (matrix, &register) in to.iter().enumerate() {
            for lane in lanes(present) {
                let touch = LaneAccess {
                    lane,
                    space: Space::Shared,
                    address: rows[8 * matrix + lane / 4] + (lane % 4 * 4) as u64,
                    strong: false,
                };
                let mut bytes = [0; 4];
                self.read(warp, touch, &mut bytes)
                    .map_err(|fault| fault.in_lane(lane))?;
                warp.registers[register as usize][lane] = u32::from_le_bytes(bytes).into();
            }
        }
        Ok(())
    }
}
