//! What does this processor have, and what does the operating system let it use?

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use x86::{has_bf16_pairs, missing_for};

/// What is missing for a set of instructions; `None` when kernels may use it.
#[cfg(any(not(target_arch = "x86_64"), miri))]
pub fn missing_for(set: super::InstructionSet) -> Option<&'static str> {
    let reason = "kernels beyond plain Rust are written for x86-64 processors, outside of Miri";
    (set != super::InstructionSet::Scalar).then_some(reason)
}

/// Whether AVX-512 multiplies pairs of bf16.
#[cfg(any(not(target_arch = "x86_64"), miri))]
pub fn has_bf16_pairs() -> bool {
    false
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::is_x86_feature_detected as has;

    use crate::panels::InstructionSet;

    /// What is missing for a set of instructions; `None` when kernels may use it.
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

    /// AVX2 belongs to it: every processor with AVX-512 has it, and kernels share code.
    fn missing_for_avx512() -> Option<&'static str> {
        let present = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        missing_for_avx2()
            .or_else(|| (!present).then_some("the processor lacks AVX-512 F, BW, DQ or VL"))
    }

    #[cfg(not(target_os = "linux"))]
    fn missing_for_amx() -> Option<&'static str> {
        Some("AMX tiles are used on Linux only")
    }

    /// To be asked where AVX-512 is present, which implies XSAVE.
    #[cfg(target_os = "linux")]
    fn missing_for_amx() -> Option<&'static str> {
        use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, _xgetbv};

        // Extended features: EDX says whether there are tiles, and products of bf16 on them.
        const FEATURES: u32 = 7;
        const TILES: u32 = 1 << 24;
        const BF16_ON_TILES: u32 = 1 << 22;
        // Register XCR0: the operating system saves tile configuration and tile data.
        const SAVED: u64 = 1 << 17 | 1 << 18;

        #[target_feature(enable = "xsave")]
        fn saved_state() -> u64 {
            // SAFETY: `xgetbv` is part of XSAVE, which the caller has seen, and register 0 exists
            // wherever the operating system has switched XSAVE on, which detection includes.
            unsafe { _xgetbv(0) }
        }

        // SAFETY: every x86-64 processor has `cpuid`, and leaf 7 is asked for where it exists.
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
        // SAFETY: XSAVE was just seen.
        if !has!("xsave") || unsafe { saved_state() } & SAVED != SAVED {
            return Some("the operating system does not keep AMX tiles (XCR0 bits 17 and 18)");
        }
        (!permit_tiles()).then_some("the operating system refuses AMX tiles (arch_prctl)")
    }

    /// Asks Linux for the right to use tile data; granted to all threads of the process.
    #[cfg(target_os = "linux")]
    fn permit_tiles() -> bool {
        const ARCH_PRCTL: u64 = 158;
        const REQUEST_PERMISSION: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let answer: i64;
        // SAFETY: the system call reads two numbers and no memory of ours. The kernel keeps all
        // registers but rax, rcx and r11, which are named here.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => answer,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        answer == 0
    }
}
