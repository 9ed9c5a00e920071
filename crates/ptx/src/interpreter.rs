//! Implements the GPU interface of `uard-core` on the interpreter, in place of the CUDA driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uard_core::gpu::compile::{Image, Target, compile, require_nvrtc};
use uard_core::gpu::{self, Gpu, GpuError, GpuResult, Program};

use crate::launch::MOST_SHARED;
use crate::{Launch, Memory, Module};

/// Compiles the GPU programs of this workspace with NVRTC and runs them in the interpreter.
#[derive(Debug)]
pub struct Interpreter {
    target: Target,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    memory: Memory,
    /// The programs that are compiled and parsed.
    loaded: HashMap<Program, Arc<Module>>,
}

/// One allocation in the memory of an interpreter.
#[derive(Debug)]
struct InterpreterMemory {
    address: u64,
    bytes: usize,
    state: Arc<Mutex<State>>,
}

impl Interpreter {
    /// An interpreter for a compute capability; `None` where NVRTC is not installed.
    ///
    /// # Panics
    /// When NVRTC is not installed although `required` is true.
    pub fn where_possible(capability: u32, required: bool) -> Option<Self> {
        match require_nvrtc() {
            Ok(()) => Some(Self {
                target: Target::Ptx(capability),
                state: Arc::default(),
            }),
            Err(missing) => {
                assert!(!required, "{missing}");
                None
            }
        }
    }

    fn module(&self, program: &Program) -> GpuResult<Arc<Module>> {
        if let Some(module) = lock(&self.state).loaded.get(program) {
            return Ok(Arc::clone(module));
        }
        let module = match compile(program, self.target)? {
            Image::Ptx(text) => Module::parse(&text).map_err(failed("read a program"))?,
            Image::Cubin(_) => {
                return Err(GpuError::Failed {
                    action: "read a program".to_owned(),
                    cause: "the interpreter reads PTX, not cubin".to_owned(),
                });
            }
        };
        let module = Arc::new(module);
        let mut state = lock(&self.state);
        state.loaded.insert(program.clone(), Arc::clone(&module));
        Ok(module)
    }
}

impl gpu::Memory for InterpreterMemory {
    fn address(&self) -> u64 {
        self.address
    }

    fn write(&mut self, bytes: &[u8]) -> GpuResult<()> {
        let mut state = lock(&self.state);
        let written = state.memory.write(self.address, bytes);
        written.map_err(failed("copy to memory"))
    }

    fn read(&self, bytes: &mut [u8]) -> GpuResult<()> {
        let read = lock(&self.state).memory.read(self.address, bytes);
        read.map_err(failed("copy from memory"))
    }

    fn clear(&mut self) -> GpuResult<()> {
        self.write(&vec![0; self.bytes])
    }
}

impl Drop for InterpreterMemory {
    fn drop(&mut self) {
        // Freeing an allocated address cannot fail, and a panic here would hide an earlier one.
        let _ = lock(&self.state).memory.free(self.address);
    }
}

impl Gpu for Interpreter {
    fn name(&self) -> &str {
        "an interpreter of PTX"
    }

    fn shared_bytes(&self) -> u32 {
        MOST_SHARED
    }

    fn allocate(&self, bytes: usize) -> GpuResult<Box<dyn gpu::Memory>> {
        Ok(Box::new(InterpreterMemory {
            address: lock(&self.state).memory.allocate(bytes),
            bytes,
            state: Arc::clone(&self.state),
        }))
    }

    unsafe fn launch(&self, launch: &gpu::Launch<'_>) -> GpuResult<()> {
        if launch.blocks == 0 {
            return Ok(());
        }
        let module = self.module(launch.program)?;
        let started = Launch {
            blocks: launch.blocks,
            threads: launch.threads,
            shared_bytes: launch.shared_bytes,
            arguments: launch.arguments,
        };
        let mut state = lock(&self.state);
        module
            .launch(launch.kernel, &started, &mut state.memory)
            .map_err(failed(launch.kernel))
    }
}

fn failed(action: &str) -> impl FnOnce(crate::Error) -> GpuError {
    let action = action.to_owned();
    move |error| GpuError::Failed {
        action,
        cause: error.to_string(),
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
