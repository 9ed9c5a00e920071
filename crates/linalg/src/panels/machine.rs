//! Detects which instruction sets the processor has and the operating system permits.

#[cfg(target_arch = "x86_64")]
pub use x86::{has_bf16_pairs, missing_for};

/// What a set of instructions lacks here; `None` when kernels may use it.
#[cfg(not(target_arch = "x86_64"))]
pub fn missing_for(set: super::InstructionSet) -> Option<&'static str> {
    let reason = "kernels beyond plain Rust are written for x86-64 processors";
    (set != super::InstructionSet::Scalar).then_some(reason)
}

/// Whether AVX-512 multiplies pairs of bf16.
#[cfg(not(target_arch = "x86_64"))]
pub fn has_bf16_pairs() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected as has;

    use crate::panels::InstructionSet;

    /// What a set of instructions lacks here; `None` when kernels may use it.
    pub fn missing_for(set: InstructionSet) -> Option<&'static str> {
        match set {
            InstructionSet::Scalar => None,
            InstructionSet::Avx2 => missing_for_avx2(),
            InstructionSet::Avx512 => missing_for_avx512(),
            InstructionSet::Amx => missing_for_avx512().or_else(missing_for_amx),
        }
    }

    /// Whether AVX-512 multiplies pairs of bf16.
    pub fn has_bf16_pairs() -> bool {
        has!("avx512bf16")
    }

    fn missing_for_avx2() -> Option<&'static str> {
        let present = has!("avx2") && has!("fma");
        (!present).then_some("the processor lacks AVX2 or FMA")
    }

    /// AVX2 is required too: kernels for AVX-512 share code with it, and every processor with AVX-512
    /// has it.
    fn missing_for_avx512() -> Option<&'static str> {
        let present = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        missing_for_avx2()
            .or_else(|| (!present).then_some("the processor lacks AVX-512 F, BW, DQ or VL"))
    }

    #[cfg(not(target_os = "linux"))]
    fn missing_for_amx() -> Option<&'static str> {
        Some("AMX tiles are used on Linux only")
    }

    /// To be called only where AVX-512 was found, which implies XSAVE.
    #[cfg(target_os = "linux")]
    fn missing_for_amx() -> Option<&'static str> {
        use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, _xgetbv};

        // EDX of the leaf of extended features: bits for tiles and for products of bf16 on them.
        const FEATURES: u32 = 7;
        const TILES: u32 = 1 << 24;
        const BF16_ON_TILES: u32 = 1 << 22;
        // Bits of register XCR0: the operating system saves tile configuration and tile data.
        const SAVED: u64 = 1 << 17 | 1 << 18;

        #[target_feature(enable = "xsave")]
        fn saved_state() -> u64 {
            // SAFETY: `_xgetbv` needs XSAVE, switched on by the operating system: the caller has
            // detected it, and Rust's detection includes the switch. Register 0 then exists.
            unsafe { _xgetbv(0) }
        }

        // SAFETY: both functions need the instruction `cpuid`, which every x86-64 processor has. Leaf 7
        // is read only where the highest leaf is at least 7.
        #[allow(unused_unsafe, reason = "safe functions in later versions of Rust")]
        let features = unsafe {
            if __get_cpuid_max(0).0 < FEATURES {
                return Some("the processor lacks AMX");
            }
            __cpuid_count(FEATURES, 0).edx
        };
        if features & (TILES | BF16_ON_TILES) != TILES | BF16_ON_TILES {
            return Some("the processor lacks AMX tiles or their products in bf16");
        }
        // SAFETY: `saved_state` needs XSAVE, which the left side of `||` has just detected.
        if !has!("xsave") || unsafe { saved_state() } & SAVED != SAVED {
            return Some("the operating system does not keep AMX tiles (XCR0 bits 17 and 18)");
        }
        (!permit_tiles()).then_some("the operating system refuses AMX tiles (arch_prctl)")
    }

    /// Requests permission from Linux to use tile data, for all threads of the process.
    #[cfg(target_os = "linux")]
    fn permit_tiles() -> bool {
        const ARCH_PRCTL: u64 = 158;
        const REQUEST_PERMISSION: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let result: i64;
        // SAFETY: the system call takes two numbers and accesses no memory of this process. It changes
        // the registers rax, rcx and r11 alone, which are declared as outputs, and uses no stack.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
    }
}
