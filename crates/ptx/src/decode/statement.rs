//! Which statements stand between the braces of a function?

use super::{Body, Jump};
use crate::error::Result;
use crate::instruction::{Guard, Op};
use crate::parse::opcode::Opcode;
use crate::parse::operand::operands;
use crate::parse::scope::{Scope, Symbol, aligned};
use crate::parse::token::Cursor;
use crate::parse::variable::{declaration, number};
use crate::types::{Space, Type};

impl<'t> Body<'_, 't> {
    /// Everything from the opening brace to its closing one.
    pub(super) fn statements(&mut self, mut cursor: Cursor<'t>) -> Result<()> {
        cursor.expect("{")?;
        let mut depth = 1;
        while depth > 0 {
            self.line = cursor.line();
            match cursor.peek() {
                "{" => {
                    cursor.expect("{")?;
                    depth += 1;
                    self.scopes.push(Scope {
                        parent: Some(self.current),
                        ..Scope::default()
                    });
                    self.current = self.scopes.len() - 1;
                }
                "}" => {
                    cursor.expect("}")?;
                    depth -= 1;
                    self.current = self.scopes[self.current].parent.unwrap_or_default();
                }
                ";" => cursor.expect(";")?,
                text if text.starts_with('.') => self.directive(&mut cursor)?,
                _ if cursor.peek_after(1) == ":" => self.label(&mut cursor)?,
                _ => self.guarded(&mut cursor)?,
            }
        }
        self.guard = None;
        self.leave();
        self.link_jumps()
    }

    /// What happens at the end of a body, and at `ret`.
    pub(super) fn leave(&mut self) {
        let op = self.back.map_or(Op::Exit, Op::Return);
        self.emit(op);
    }

    fn label(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        let name = cursor.take()?;
        cursor.expect(":")?;
        let scope = &mut self.scopes[self.current];
        if cursor.accept(".branchtargets") {
            let mut targets = vec![cursor.take()?];
            while cursor.accept(",") {
                targets.push(cursor.take()?);
            }
            scope.tables.insert(name, targets);
            return cursor.expect(";");
        }
        scope.labels.insert(name, self.program.code.len() as u32);
        Ok(())
    }

    fn guarded(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        self.guard = None;
        if cursor.accept("@") {
            let wanted = u64::from(!cursor.accept("!"));
            let name = cursor.take()?;
            let Some(Symbol::Register(register, Type::Pred)) = self.symbol(name) else {
                return Err(self.unsupported(format!("`{name}` is no predicate")));
            };
            self.guard = Some(Guard { register, wanted });
        }
        let opcode = Opcode::new(cursor.take()?);
        let operands = operands(cursor)?;
        self.instruction(opcode, &operands)
    }

    fn directive(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        match cursor.take()? {
            ".reg" => self.registers(cursor),
            ".local" => self.variables(cursor, Space::Local),
            ".shared" => self.variables(cursor, Space::Shared),
            ".param" => self.variables(cursor, Space::Parameter),
            ".pragma" => cursor.skip_past(";"),
            ".loc" => {
                for _ in 0..3 {
                    number(cursor)?;
                }
                while cursor.accept(",") {
                    // `function_name label, inlined_at 1 2 3`
                    cursor.take()?;
                    while !matches!(cursor.peek(), "," | "@") && !starts_statement(cursor) {
                        cursor.take()?;
                    }
                }
                Ok(())
            }
            directive => Err(self.unsupported(format!("`{directive}` in a function"))),
        }
    }

    /// `.reg .b32 %r<12>, x;`
    fn registers(&mut self, cursor: &mut Cursor<'t>) -> Result<()> {
        let text = cursor.take()?;
        let Some(kind) = text.strip_prefix('.').and_then(Type::parse) else {
            return Err(self.unsupported(format!("registers of type `{text}`")));
        };
        loop {
            let name = cursor.take()?;
            if cursor.accept("<") {
                for index in 0..number(cursor)? {
                    self.declare_register(format!("{name}{index}"), kind);
                }
                cursor.expect(">")?;
            } else {
                self.declare_register(name.to_owned(), kind);
            }
            if !cursor.accept(",") {
                return cursor.expect(";");
            }
        }
    }

    fn declare_register(&mut self, name: String, kind: Type) {
        let symbol = Symbol::Register(self.fresh(), kind);
        self.scopes[self.current].symbols.insert(name, symbol);
    }

    fn variables(&mut self, cursor: &mut Cursor<'t>, space: Space) -> Result<()> {
        loop {
            let found = declaration(cursor)?;
            let end = match space {
                Space::Local => &mut self.frame.local_bytes,
                Space::Shared => &mut self.frame.shared_end,
                _ => &mut self.frame.parameter_bytes,
            };
            let address = aligned(*end, found.align);
            *end = address + found.bytes;
            let symbol = match found.open {
                true => Symbol::DynamicShared,
                false => Symbol::Memory { space, address },
            };
            let scope = &mut self.scopes[self.current];
            scope.symbols.insert(found.name.to_owned(), symbol);
            if space == Space::Parameter {
                self.sizes.insert(address, found.bytes);
            }
            if !cursor.accept(",") {
                return cursor.expect(";");
            }
        }
    }

    /// What a name means here.
    pub(super) fn symbol(&self, name: &str) -> Option<Symbol> {
        let mut scope = Some(self.current);
        while let Some(index) = scope {
            if let Some(&symbol) = self.scopes[index].symbols.get(name) {
                return Some(symbol);
            }
            scope = self.scopes[index].parent;
        }
        self.program.symbols.get(name).copied()
    }

    fn label_place(&self, mut scope: usize, label: &str) -> Option<u32> {
        loop {
            if let Some(&place) = self.scopes[scope].labels.get(label) {
                return Some(place);
            }
            scope = self.scopes[scope].parent?;
        }
    }

    /// The labels of a `.branchtargets`.
    pub(super) fn table(&self, name: &str) -> Option<Vec<&'t str>> {
        let mut scope = Some(self.current);
        while let Some(index) = scope {
            if let Some(table) = self.scopes[index].tables.get(name) {
                return Some(table.clone());
            }
            scope = self.scopes[index].parent;
        }
        None
    }

    /// Emits a branch whose labels are looked up when all are placed.
    pub(super) fn jump(&mut self, op: Op, labels: Vec<&'t str>) {
        self.jumps.push(Jump {
            at: self.program.code.len(),
            scope: self.current,
            line: self.line,
            labels,
        });
        self.emit(op);
    }

    fn link_jumps(&mut self) -> Result<()> {
        for jump in std::mem::take(&mut self.jumps) {
            let mut places = Vec::new();
            for label in &jump.labels {
                let Some(place) = self.label_place(jump.scope, label) else {
                    self.line = jump.line;
                    return Err(self.unsupported(format!("no label `{label}` is in scope")));
                };
                places.push(place);
            }
            match &mut self.program.code[jump.at].op {
                Op::Branch(target) => *target = places[0],
                Op::BranchIndexed { targets, .. } => *targets = places,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the next word begins an instruction, label or directive rather than a number or name
/// of a `.loc`.
fn starts_statement(cursor: &Cursor<'_>) -> bool {
    let text = cursor.peek();
    let name = matches!(text, "function_name" | "inlined_at");
    let number = text.starts_with(|first: char| first.is_ascii_digit());
    let label = text.starts_with("$L__info") || text.starts_with("$L__func");
    matches!(text, "{" | "}" | "+") || !(name || number || label)
}
