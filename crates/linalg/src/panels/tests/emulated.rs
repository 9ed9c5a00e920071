//! An emulation of AMX instructions, which lets a machine without AMX test the AMX kernel.
//!
//! A processor without AMX raises SIGILL at such an instruction. The handler here decodes the
//! instruction, performs it on tiles in memory, and continues after it, so that tests run the machine
//! code that is shipped. It decodes only the instructions of our kernels; any other SIGILL ends the
//! process as usual.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Once;

use crate::panels::Instructions;

/// Installs the handler, and returns AMX as if the machine had it.
pub fn install() -> Instructions {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: `zeroed` is a valid `sigaction`, a C struct of numbers: no flags and an empty mask.
        // `sigaction` needs a handler of the signature of SA_SIGINFO, which `handle_sigill` has, and
        // pointers to actions: `action` lives here, and null means that the old one is not wanted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle_sigill as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGILL, &action, ptr::null_mut()), 0);
        }
    });
    Instructions::emulated_amx()
}

/// A line of a tile: 16 bit patterns of f32 sums, or 16 pairs of bf16.
type Line = [u32; 16];

/// The tile registers of a thread.
#[derive(Clone, Copy)]
struct Tiles {
    lines: [[Line; 16]; 8],
    /// How many lines each tile has, and how many words a line; zeros when tiles are released.
    shape: [(usize, usize); 8],
}

const RELEASED: Tiles = Tiles {
    lines: [[[0; 16]; 16]; 8],
    shape: [(0, 0); 8],
};

thread_local! {
    /// Initialised at compile time and without a destructor, so that a signal handler may use it.
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(RELEASED) };
}

/// Handles SIGILL.
extern "C" fn handle_sigill(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the third argument points to the `ucontext_t` of the interrupted thread,
    // which nobody else accesses now. `carry_out` needs an instruction at RIP: SIGILL leaves RIP at the
    // refused one, whose operands our kernels may access. The reference to the tiles is the only one:
    // they belong to this thread, and SIGILL is blocked while its handler runs.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let known = TILES.with(|tiles| carry_out(registers, &mut *tiles.get()));
        if known.is_none() {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// A decoded instruction.
struct Decoded {
    operation: Operation,
    /// The tile register that it names first.
    tile: usize,
    /// Its bytes.
    length: usize,
}

/// What an instruction does, with its operands beside [`Decoded::tile`]. Loads and stores have an
/// address and the number of bytes from one line to the next.
enum Operation {
    Configure(*const u8),
    Release,
    Zero,
    Load(*const u8, isize),
    Store(*mut u8, isize),
    Multiply { rows: usize, columns: usize },
}

/// Performs the instruction at RIP and moves RIP behind it; `None` when it is not one of our kernels'.
///
/// # Safety
/// RIP points at an instruction, and its memory operands may be accessed.
unsafe fn carry_out(registers: &mut [i64; 23], tiles: &mut Tiles) -> Option<()> {
    // SAFETY: `decode` needs an instruction at RIP, and the accesses need operands that may be accessed:
    // both are the caller's promise. A configuration has 64 bytes, of which bytes 16 to 31 and 48 to 55
    // are read. A tile has at most 16 lines of 16 words, so copies stay inside of `lines`.
    unsafe {
        let Decoded {
            operation,
            tile,
            length,
        } = decode(registers)?;
        match operation {
            Operation::Configure(from) => {
                assert_eq!(*from, 1, "palette 1, the only one of AMX");
                *tiles = RELEASED;
                for (at, shape) in tiles.shape.iter_mut().enumerate() {
                    let bytes = from.add(16 + 2 * at).cast::<u16>().read_unaligned();
                    *shape = (usize::from(*from.add(48 + at)), usize::from(bytes) / 4);
                }
            }
            Operation::Release => *tiles = RELEASED,
            Operation::Zero => tiles.lines[tile] = [[0; 16]; 16],
            Operation::Load(from, stride) => {
                let (lines, words) = tiles.shape[tile];
                tiles.lines[tile] = [[0; 16]; 16];
                for (at, line) in tiles.lines[tile][..lines].iter_mut().enumerate() {
                    let from = from.offset(at as isize * stride);
                    ptr::copy_nonoverlapping(from, line.as_mut_ptr().cast(), 4 * words);
                }
            }
            Operation::Store(to, stride) => {
                let (lines, words) = tiles.shape[tile];
                for (at, line) in tiles.lines[tile][..lines].iter().enumerate() {
                    let to = to.offset(at as isize * stride);
                    ptr::copy_nonoverlapping(line.as_ptr().cast(), to, 4 * words);
                }
            }
            Operation::Multiply { rows, columns } => multiply(tiles, tile, rows, columns),
        }
        registers[libc::REG_RIP as usize] += length as i64;
    }
    Some(())
}

/// `tdpbf16ps`, as Intel's manual defines it: even and odd depths are summed apart by fused
/// multiply-adds, the two sums are added, and the result is added to the tile. Subnormal inputs and
/// results are replaced by zero.
fn multiply(tiles: &mut Tiles, sums: usize, rows: usize, columns: usize) {
    let flushed = |x: f32| {
        if x.is_subnormal() {
            0.0_f32.copysign(x)
        } else {
            x
        }
    };
    let number = |bits: u32| flushed(f32::from_bits(bits));
    let (height, width) = tiles.shape[sums];
    let pairs = tiles.shape[rows].1;
    assert_eq!(
        (tiles.shape[rows].0, tiles.shape[columns]),
        (height, (pairs, width))
    );
    for i in 0..height {
        for j in 0..width {
            let mut parts = [0.0_f32; 2];
            for pair in 0..pairs {
                let (a, b) = (tiles.lines[rows][i][pair], tiles.lines[columns][pair][j]);
                parts[0] = flushed(number(a << 16).mul_add(number(b << 16), parts[0]));
                parts[1] = flushed(number(a & !0xffff).mul_add(number(b & !0xffff), parts[1]));
            }
            let sum = &mut tiles.lines[sums][i][j];
            *sum = flushed(number(*sum) + flushed(parts[0] + parts[1])).to_bits();
        }
    }
}

/// Decodes the instruction at RIP: a VEX prefix of three bytes, opcode, ModRM and memory operand.
/// `None` when it is not one of our kernels'.
///
/// # Safety
/// RIP points at an instruction.
unsafe fn decode(registers: &[i64; 23]) -> Option<Decoded> {
    let at = registers[libc::REG_RIP as usize] as *const u8;
    // SAFETY: byte 0 belongs to the instruction at RIP. The bytes after it are read one by one, each only
    // where those before it are the beginning of an AMX instruction, which has at least five.
    let byte = |index: usize| unsafe { at.add(index).read() };
    // C4, then map 2 (0F 38) with inverted extensions of registers, then W0 and 128 bits.
    if byte(0) != 0xc4 || byte(1) & 0x1f != 2 || byte(2) & 0x84 != 0 {
        return None;
    }
    let (prefix, opcode, modrm) = (byte(2) & 3, byte(3), byte(4));
    let (mode, reg, rm) = (
        modrm >> 6,
        usize::from(modrm >> 3 & 7),
        usize::from(modrm & 7),
    );
    // Prefix: 0 none, 1 for 66, 2 for F3, 3 for F2.
    // SAFETY: `memory` needs an instruction with a three-byte VEX prefix and a memory operand: the prefix
    // was compared above, and the closure is called only in the arms of modes with an operand in memory.
    let operand = || unsafe { memory(registers, at) };
    let (operation, length) = match (opcode, prefix, mode) {
        (0x49, 0, 3) => (Operation::Release, 5),
        (0x49, 3, 3) => (Operation::Zero, 5),
        (0x5c, 2, 3) => {
            let columns = usize::from(!byte(2) >> 3 & 0xf);
            (Operation::Multiply { rows: rm, columns }, 5)
        }
        (0x49, 0, _) => {
            let (address, _, length) = operand();
            (Operation::Configure(address as *const u8), length)
        }
        (0x4b, 3, 0..=2) => {
            let (address, stride, length) = operand();
            (Operation::Load(address as *const u8, stride), length)
        }
        (0x4b, 2, 0..=2) => {
            let (address, stride, length) = operand();
            (Operation::Store(address as *mut u8, stride), length)
        }
        _ => return None,
    };
    Some(Decoded {
        operation,
        tile: reg,
        length,
    })
}

/// A memory operand: its address without the index, the index times its scale (for a tile the bytes from
/// one line to the next), and the length of the instruction.
///
/// # Safety
/// An instruction with a three-byte VEX prefix and a memory operand begins at `at`.
unsafe fn memory(registers: &[i64; 23], at: *const u8) -> (usize, isize, usize) {
    // SAFETY: every byte that is read belongs to the instruction: prefix, opcode and ModRM are bytes 0 to
    // 4, and SIB and displacement are read only where ModRM says that they follow.
    let byte = |index: usize| unsafe { at.add(index).read() };
    let displacement = |index: usize, mode: u8| -> (i64, usize) {
        match mode {
            1 => (i64::from(byte(index) as i8), index + 1),
            // SAFETY: mode 2 says that a displacement of four bytes follows.
            2 => unsafe {
                (
                    i64::from(at.add(index).cast::<i32>().read_unaligned()),
                    index + 4,
                )
            },
            _ => (0, index),
        }
    };
    let register = |number: u8, inverted: u8| {
        let extension = if byte(1) & inverted == 0 { 8 } else { 0 };
        registers[REGISTERS[usize::from(number) + extension] as usize]
    };
    let (mode, rm) = (byte(4) >> 6, byte(4) & 7);
    let (base, index, (displacement, length)) = match (mode, rm) {
        (0, 5) => {
            let (displacement, length) = displacement(5, 2);
            (at as i64 + length as i64, 0, (displacement, length))
        }
        (_, 4) => {
            let sib = byte(5);
            let index = match (sib >> 3 & 7, byte(1) & X) {
                (4, X) => 0,
                (number, _) => register(number, X) << (sib >> 6),
            };
            match (mode, sib & 7) {
                (0, 5) => (0, index, displacement(6, 2)),
                (_, number) => (register(number, B), index, displacement(6, mode)),
            }
        }
        _ => (register(rm, B), 0, displacement(5, mode)),
    };
    ((base + displacement) as usize, index as isize, length)
}

/// Bits of the prefix, stored inverted, that extend the number of the index register and of the base.
const X: u8 = 0x40;
const B: u8 = 0x20;

/// Where a signal's context keeps each register, by the register's number in instructions.
const REGISTERS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
