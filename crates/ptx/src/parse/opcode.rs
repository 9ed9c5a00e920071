//! Which modifiers has an instruction, and which of them were understood?

use crate::types::{Space, Type};

/// `add.rn.ftz.f32`: the name, and modifiers that are taken out one by one.
#[derive(Clone, Debug)]
pub(crate) struct Opcode<'t> {
    pub(crate) name: &'t str,
    modifiers: Vec<&'t str>,
}

impl<'t> Opcode<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let mut parts = text.split('.');
        Self {
            name: parts.next().unwrap_or_default(),
            modifiers: parts.collect(),
        }
    }

    /// Whether the modifier is there; it is taken out.
    pub(crate) fn take(&mut self, modifier: &str) -> bool {
        let place = self.modifiers.iter().position(|&found| found == modifier);
        place.map(|place| self.modifiers.remove(place)).is_some()
    }

    /// The first of the modifiers that is there; it is taken out.
    pub(crate) fn take_one<'m>(&mut self, choices: &[&'m str]) -> Option<&'m str> {
        let found = choices
            .iter()
            .find(|choice| self.modifiers.contains(choice))?;
        self.take(found);
        Some(found)
    }

    /// Takes out modifiers that change nothing here.
    pub(crate) fn ignore(&mut self, modifiers: &[&str]) {
        self.modifiers.retain(|found| !modifiers.contains(found));
    }

    /// The first type; it is taken out.
    pub(crate) fn take_type(&mut self) -> Option<Type> {
        let place = self
            .modifiers
            .iter()
            .position(|text| Type::parse(text).is_some())?;
        Type::parse(self.modifiers.remove(place))
    }

    /// The memory that is named, [`Space::Generic`] if none is; it is taken out.
    pub(crate) fn take_space(&mut self) -> Space {
        let place = self.modifiers.iter().position(|text| space(text).is_some());
        place
            .and_then(|place| space(self.modifiers.remove(place)))
            .unwrap_or(Space::Generic)
    }

    /// What was not understood.
    pub(crate) fn rest(&self) -> &[&'t str] {
        &self.modifiers
    }
}

fn space(text: &str) -> Option<Space> {
    Some(match text {
        "global" => Space::Global,
        "shared" | "shared::cta" => Space::Shared,
        "local" => Space::Local,
        "const" => Space::Constant,
        "param" | "param::entry" | "param::func" => Space::Parameter,
        _ => return None,
    })
}
