//! The product of panels in bf16 on AMX tiles: two panels of rows by two of columns at a time.
//!
//! A tile is 16 lines of 64 bytes. Sixteen rows by 32 depths of a panel are the left tile of
//! `tdpbf16ps`, 16 pairs of depths by 16 columns the right one, both a kilobyte in one piece, and
//! the 16 by 16 sums fill a third. Four tiles of sums stay while all depths pass, each block of 32
//! depths added in order, so that an entry depends on its row and column alone.
//!
//! The compiler neither knows the state of tiles nor keeps it: each strip of tiles is one piece of
//! assembly, which sets tiles up and releases them.

use std::arch::asm;

use half::bf16;

use super::PANEL;
use super::tiling::{Operands, Tile};

/// A line of a tile.
const LINE_BYTES: usize = 64;

/// A tile.
const TILE_BYTES: usize = PANEL * LINE_BYTES;

/// What `ldtilecfg` reads: all eight tiles have 16 lines of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_line: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    lines: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let mut line_bytes = [0; 16];
    let mut lines = [0; 16];
    let mut tile = 0;
    while tile < 8 {
        line_bytes[tile] = LINE_BYTES as u16;
        lines[tile] = PANEL as u8;
        tile += 1;
    }
    Configuration {
        palette: 1,
        start_line: 0,
        reserved: [0; 14],
        line_bytes,
        lines,
    }
};

/// Products in bf16.
///
/// # Safety
/// The machine has AMX in bf16 and lets the process use tiles, and the operands can be read and
/// written.
pub unsafe fn product_bf16(operands: &Operands) {
    let (pairs, odd) = (operands.column_panels / 2, operands.column_panels % 2);
    let last = operands.column_panels - odd;
    // SAFETY: strips begin at panels that are there and have as many blocks as there are panels;
    // the rest is the caller's promise.
    unsafe {
        for row in (0..operands.row_panels).step_by(2) {
            let alone = row + 1 == operands.row_panels;
            let strip = |column, blocks| Strip::new(operands.tile(row * PANEL, column), blocks);
            match (pairs > 0, alone) {
                (true, true) => one_by_two(&strip(0, pairs)),
                (true, false) => two_by_two(&strip(0, pairs)),
                (false, _) => {}
            }
            match (odd > 0, alone) {
                (true, true) => one_by_one(&strip(last, 1)),
                (true, false) => two_by_one(&strip(last, 1)),
                (false, _) => {}
            }
        }
    }
}

/// One or two panels of rows against some blocks of one or two panels of columns.
struct Strip {
    tile: Tile,
    /// At least one; more than one only of two panels each.
    blocks: usize,
}

impl Strip {
    fn new(tile: Tile, blocks: usize) -> Self {
        Self { tile, blocks }
    }
}

/// A strip as one piece of assembly: `sums` begins a block, `step` adds 32 depths, `store` ends it.
macro_rules! strip {
    ($name:ident, sums: $($sums:literal)+, step: $($step:literal)+, store: $($store:literal)+) => {
        /// # Safety
        /// As [`product_bf16`], and all panels of the strip are there.
        #[inline(never)]
        unsafe fn $name(strip: &Strip) {
            let Strip { tile, blocks } = strip;
            let panel = tile.words * LINE_BYTES;
            // SAFETY: tiles are there to be used. A panel is `words / 16` tiles in one piece: the
            // pointers walk over the tiles of one panel of rows (again for each block) and of the
            // panels of columns one after the other, and over the entries below which each tile is
            // stored at the stride of the output. No other memory is touched, nor the stack; the
            // tile registers that are written are named and released at the end.
            unsafe {
                asm!(
                    "ldtilecfg [rip + {configuration}]",
                    "2:",
                    $($sums,)+
                    "mov {step}, {steps}",
                    "3:",
                    $($step,)+
                    "add {rows}, 1024",
                    "add {lower}, 1024",
                    "add {columns}, 1024",
                    "add {right}, 1024",
                    "dec {step}",
                    "jnz 3b",
                    $($store,)+
                    "sub {rows}, {panel}",
                    "sub {lower}, {panel}",
                    "add {columns}, {panel}",
                    "add {right}, {panel}",
                    "add {out}, 128",
                    "add {below}, 128",
                    "dec {blocks}",
                    "jnz 2b",
                    "tilerelease",
                    configuration = sym CONFIGURATION,
                    line = in(reg) LINE_BYTES,
                    stride = in(reg) tile.stride * size_of::<f32>(),
                    panel = in(reg) panel,
                    steps = in(reg) panel / TILE_BYTES,
                    step = out(reg) _,
                    blocks = inout(reg) *blocks => _,
                    rows = inout(reg) tile.row(0, 0) => _,
                    lower = inout(reg) tile.row(0, 0).wrapping_byte_add(panel) => _,
                    columns = inout(reg) tile.column(0, 0) => _,
                    right = inout(reg) tile.column(0, 0).wrapping_byte_add(panel) => _,
                    out = inout(reg) tile.entry(0, 0) => _,
                    below = inout(reg) tile.entry(0, 0).wrapping_add(PANEL * tile.stride) => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

// Sums in 0 to 3, rows in 4 and 5, columns in 6 and 7.

strip!(two_by_two,
    sums: "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3",
    step:
        "tileloadd tmm4, [{rows} + {line}]"
        "tileloadd tmm6, [{columns} + {line}]"
        "tileloadd tmm7, [{right} + {line}]"
        "tileloadd tmm5, [{lower} + {line}]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "tdpbf16ps tmm2, tmm5, tmm6"
        "tdpbf16ps tmm3, tmm5, tmm7",
    store:
        "tilestored [{out} + {stride}], tmm0"
        "tilestored [{out} + {stride} + 64], tmm1"
        "tilestored [{below} + {stride}], tmm2"
        "tilestored [{below} + {stride} + 64], tmm3"
);

strip!(one_by_two,
    sums: "tilezero tmm0" "tilezero tmm1",
    step:
        "tileloadd tmm4, [{rows} + {line}]"
        "tileloadd tmm6, [{columns} + {line}]"
        "tileloadd tmm7, [{right} + {line}]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tdpbf16ps tmm1, tmm4, tmm7",
    store:
        "tilestored [{out} + {stride}], tmm0"
        "tilestored [{out} + {stride} + 64], tmm1"
);

strip!(two_by_one,
    sums: "tilezero tmm0" "tilezero tmm2",
    step:
        "tileloadd tmm4, [{rows} + {line}]"
        "tileloadd tmm6, [{columns} + {line}]"
        "tileloadd tmm5, [{lower} + {line}]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tdpbf16ps tmm2, tmm5, tmm6",
    store:
        "tilestored [{out} + {stride}], tmm0"
        "tilestored [{below} + {stride}], tmm2"
);

strip!(one_by_one,
    sums: "tilezero tmm0",
    step:
        "tileloadd tmm4, [{rows} + {line}]"
        "tileloadd tmm6, [{columns} + {line}]"
        "tdpbf16ps tmm0, tmm4, tmm6",
    store:
        "tilestored [{out} + {stride}], tmm0"
);

/// Steps on tiles that are loaded once; returns their multiply-adds.
///
/// # Safety
/// The machine has AMX in bf16 and lets the process use tiles.
pub unsafe fn ceiling(rounds: usize) -> u64 {
    /// Rows by columns by depths.
    const STEP: usize = PANEL * PANEL * 32;
    let line = [bf16::from_f32_const(0.5); 32];
    // SAFETY: tiles are there to be used: they are zeroed or loaded first, each line from the one
    // that is here (a stride of nothing), named, and released at the end.
    unsafe {
        asm!(
            "ldtilecfg [rip + {configuration}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{line} + {nothing}]",
            "tileloadd tmm5, [{line} + {nothing}]",
            "tileloadd tmm6, [{line} + {nothing}]",
            "tileloadd tmm7, [{line} + {nothing}]",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            "tilerelease",
            configuration = sym CONFIGURATION,
            line = in(reg) line.as_ptr(),
            nothing = in(reg) 0_usize,
            rounds = inout(reg) rounds.max(1) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
    (rounds.max(1) * 4 * STEP) as u64
}
