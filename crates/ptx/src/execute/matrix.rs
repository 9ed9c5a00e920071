//! How do the lanes of a warp hold matrices, load them and multiply them?
//!
//! # Source
//! PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", m16n8k8, m16n8k4, and
//! `ldmatrix`. Products of two halves are exact in double precision; a row times a column plus the
//! accumulator is summed there and rounded to single precision once.

use half::{bf16, f16};

use super::block::Block;
use super::lanes::lanes;
use super::storage::{check_alignment, within};
use super::warp::Warp;
use super::{LaneFault, Step};
use crate::arithmetic::single;
use crate::error::Fault;
use crate::instruction::{Element, Op, Product};
use crate::types::Space;

/// Rows and columns of the result.
const ROWS: usize = 16;
const COLUMNS: usize = 8;

fn whole_warp(there: u32) -> Step<()> {
    match there {
        u32::MAX => Ok(()),
        mask => Err(LaneFault {
            lane: mask.trailing_zeros() as usize,
            fault: Fault::PartialWarp { mask },
        }),
    }
}

impl Element {
    /// Numbers in one register.
    fn packed(self) -> usize {
        match self {
            Self::Tf32 => 1,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    fn value(self, register: u64, place: usize) -> f64 {
        let half = (register >> (16 * place)) as u16;
        match self {
            Self::F16 => f16::from_bits(half).to_f64(),
            Self::Bf16 => bf16::from_bits(half).to_f64(),
            // The low 13 bits are not looked at.
            Self::Tf32 => f64::from(single::value(register & 0xffff_e000)),
        }
    }
}

impl Warp {
    /// `mma.sync`
    pub(super) fn multiply(&mut self, product: &Product, there: u32) -> Step<()> {
        whole_warp(there)?;
        let depth = product.depth;
        let packed = product.element.packed();
        // Row by row, and column by column.
        let mut left = [[0.0; 16]; ROWS];
        let mut right = [[0.0; 16]; COLUMNS];
        for (index, &source) in product.left.iter().enumerate() {
            // Registers alternate between rows g and g + 8, then go on along the depth.
            let (down, along) = (index % 2, index / 2);
            for (lane, register) in self.values(source).into_iter().enumerate() {
                let (row, step) = (lane / 4 + 8 * down, lane % 4);
                for place in 0..packed {
                    let inner = packed * step + place + 4 * packed * along;
                    left[row][inner] = product.element.value(register, place);
                }
            }
        }
        for (along, &source) in product.right.iter().enumerate() {
            for (lane, register) in self.values(source).into_iter().enumerate() {
                let (column, step) = (lane / 4, lane % 4);
                for place in 0..packed {
                    let inner = packed * step + place + 4 * packed * along;
                    right[column][inner] = product.element.value(register, place);
                }
            }
        }
        let plus: Vec<[u64; 32]> = product.plus.iter().map(|&from| self.values(from)).collect();
        for (index, &to) in product.to.iter().enumerate() {
            self.set(to, u32::MAX, |lane| {
                let (row, column) = (lane / 4 + 8 * (index / 2), lane % 4 * 2 + index % 2);
                let terms = left[row].iter().zip(&right[column]).take(depth);
                let sum: f64 = terms.map(|(a, b)| a * b).sum();
                single::bits((sum + f64::from(single::value(plus[index][lane]))) as f32)
            });
        }
        Ok(())
    }
}

impl Block<'_> {
    /// `ldmatrix.sync`: lane `8m + r` gives the address of row `r` of matrix `m`.
    pub(super) fn load_matrix(&mut self, warp: &mut Warp, op: &Op, there: u32) -> Step<()> {
        whole_warp(there)?;
        let Op::LoadMatrix {
            address,
            transposed,
            to,
        } = op
        else {
            return Ok(());
        };
        let base = warp.values(address.base);
        let rows = base.map(|base| within(Space::Shared, base.wrapping_add(address.offset)));
        for (lane, &row) in rows.iter().take(8 * to.len()).enumerate() {
            check_alignment(Space::Shared, row, 16).map_err(|fault| LaneFault { lane, fault })?;
        }
        for (matrix, &register) in to.iter().enumerate() {
            let rows = &rows[8 * matrix..8 * matrix + 8];
            for lane in lanes(there) {
                let (high, low) = (lane / 4, lane % 4 * 2);
                let places = match transposed {
                    false => [(high, low), (high, low + 1)],
                    true => [(low, high), (low + 1, high)],
                };
                let mut value = 0;
                for (half, (row, column)) in places.into_iter().enumerate() {
                    let mut bytes = [0; 2];
                    let place = (Space::Shared, rows[row] + 2 * column as u64);
                    self.read(warp, (lane, false), place, &mut bytes)
                        .map_err(|fault| LaneFault { lane, fault })?;
                    value |= u64::from(u16::from_le_bytes(bytes)) << (16 * half);
                }
                warp.registers[register as usize][lane] = value;
            }
        }
        Ok(())
    }
}
