//! The product of panels in bf16 on AMX tiles: two panels of rows by two of columns at a time.
//!
//! A tile is 16 lines of 64 bytes. `tdpbf16ps` multiplies a left tile, 16 rows by 32 depths of a panel,
//! with a right tile, 16 pairs of depths by 16 columns; each is a contiguous kilobyte of its panel. It
//! adds the products to a third tile of 16 by 16 sums. Four tiles of sums stay in registers while all
//! depths pass, 32 at a time and in order, so that an entry depends on its row and column alone.
//!
//! The compiler does not save or restore tiles. So each strip of tiles is one piece of assembly, which
//! configures the tiles and releases them.

use std::arch::asm;

use half::bf16;

use super::PANEL;
use super::tiling::{Operands, Tile};

/// Bytes of a tile's line.
const LINE_BYTES: usize = 64;

/// Bytes of a tile.
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

/// The product of panels in bf16.
///
/// # Safety
/// The machine has AMX with products of bf16, and the operating system lets the process use tiles. The
/// panels of the operands can be read, and their output holds every row of the product and can be
/// written.
pub unsafe fn product_bf16(operands: &Operands) {
    let (pairs, odd) = (operands.column_panels / 2, operands.column_panels % 2);
    let last = operands.column_panels - odd;
    // SAFETY: a strip needs panels of rows and columns of the product from its tile's first on. Rows: it
    // begins at panel `row`, below `row_panels`, and takes two only where `alone` says that `row + 1` is
    // below `row_panels` too. Columns: `pairs` blocks of two panels begin at panel 0, and the one odd
    // panel is `last`; both end at `column_panels`. AMX, and operands that can be read and written, are
    // the caller's promise.
    unsafe {
        for row in (0..operands.row_panels).step_by(2) {
            let alone = row + 1 == operands.row_panels;
            let strip = |column, blocks| Strip {
                tile: operands.tile(row * PANEL, column),
                blocks,
            };
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

/// The product of one or two panels of rows with blocks of one or two panels of columns.
struct Strip {
    /// Where the strip begins.
    tile: Tile,
    /// How many blocks of columns: at least one, and more than one only where a block is two panels.
    blocks: usize,
}

/// Defines a function that computes a [`Strip`] in one piece of assembly. `two_by_one` has two panels of
/// rows, and one panel of columns in each block. The instructions in `sums` set the sums of a block to
/// zero, those in `step` add the products of 32 depths to them, and those in `store` write them.
macro_rules! strip {
    ($name:ident, sums: $($sums:literal)+, step: $($step:literal)+, store: $($store:literal)+) => {
        /// # Safety
        /// As [`product_bf16`], and the product has all panels of rows and columns of the strip.
        #[inline(never)]
        unsafe fn $name(strip: &Strip) {
            let Strip { tile, blocks } = strip;
            let panel = tile.words * LINE_BYTES;
            // SAFETY: the instructions need AMX: the caller's promise. Memory: a panel is `words / 16`
            // contiguous tiles of 1024 bytes, `steps` of them. `rows` and `lower` read the tiles of the
            // strip's panels of rows, from the beginning for each block; `columns` and `right` read
            // the tiles of a block's panels and then of the next block's; `out` and `below` are
            // written in 16 rows of the output at its stride, 64 bytes for each panel of columns. By
            // the caller's promise the product has these panels. A strip that is one panel high or
            // wide advances `lower`, `below` or `right` but accesses no memory through it.
            // Registers: every register that the assembly changes is declared as an output, tiles are
            // released at the end, and the stack is not used.
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

// Tile registers: sums in 0 to 3, rows in 4 and 5, columns in 6 and 7.

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

/// Multiplies tiles that are loaded once, and returns the number of multiply-adds.
///
/// # Safety
/// The machine has AMX with products of bf16, and the operating system lets the process use tiles.
pub unsafe fn ceiling(rounds: usize) -> u64 {
    /// Multiply-adds of one `tdpbf16ps`: rows times columns times depths.
    const STEP: usize = PANEL * PANEL * 32;
    let line = [bf16::from_f32_const(0.5); 32];
    // SAFETY: the instructions need AMX: the caller's promise. All eight tiles are zeroed or loaded
    // before they are used. A load has a stride of 0, so each of its 16 lines is read from `line`, which
    // has 64 bytes. Every register that the assembly changes is declared as an output, tiles are
    // released at the end, and neither the stack nor other memory is accessed.
    unsafe {
        asm!(
            "ldtilecfg [rip + {configuration}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{line} + {no_stride}]",
            "tileloadd tmm5, [{line} + {no_stride}]",
            "tileloadd tmm6, [{line} + {no_stride}]",
            "tileloadd tmm7, [{line} + {no_stride}]",
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
            no_stride = in(reg) 0_usize,
            rounds = inout(reg) rounds.max(1) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
    (rounds.max(1) * 4 * STEP) as u64
}
