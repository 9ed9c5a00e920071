//! Small pictures in the terminal, where it has a protocol for them: iTerm2's (iTerm2, WezTerm, Konsole) or
//! kitty's (kitty, Ghostty).
//!
//! The crate viuer does this too, but links ansi_colours, whose licence (LGPL) does not fit a program that
//! is linked as one file.

use std::io::{self, Cursor, IsTerminal};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;

/// The height of a picture, in lines of text.
const LINES: usize = 6;

/// The most bytes of base64 in one of kitty's commands.
const KITTY_CHUNK: usize = 4096;

/// How a terminal is given a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureProtocol {
    /// A file of any common format.
    Iterm,
    /// A PNG, in parts.
    Kitty,
}

impl PictureProtocol {
    /// The protocol of the terminal that results are printed on; none if it has none, or results go into
    /// a file.
    pub fn of_stdout() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        io::stdout().is_terminal().then(|| {
            let names = [variable("TERM"), variable("TERM_PROGRAM")].join(" ");
            Self::of_terminal(&names.to_lowercase())
        })?
    }

    /// `names` are those of the terminal in the environment, in lower case.
    fn of_terminal(names: &str) -> Option<Self> {
        let is_any = |of: &[&str]| of.iter().any(|name| names.contains(name));
        if is_any(&["kitty", "ghostty"]) {
            Some(Self::Kitty)
        } else if is_any(&["iterm.app", "wezterm", "konsole"]) {
            Some(Self::Iterm)
        } else {
            None
        }
    }

    /// What to print for a JPEG; none if it cannot be read.
    pub fn picture(self, jpeg: &[u8]) -> Option<String> {
        match self {
            Self::Iterm => {
                let data = STANDARD.encode(jpeg);
                let size = jpeg.len();
                Some(format!(
                    "\x1b]1337;File=inline=1;size={size};height={LINES};preserveAspectRatio=1:{data}\x07"
                ))
            }
            Self::Kitty => {
                let decoded = image::load_from_memory_with_format(jpeg, ImageFormat::Jpeg).ok()?;
                let mut png = Cursor::new(Vec::new());
                decoded.write_to(&mut png, ImageFormat::Png).ok()?;
                Some(kitty(&STANDARD.encode(png.into_inner())))
            }
        }
    }
}

/// A PNG in base64 as kitty's commands.
fn kitty(data: &str) -> String {
    let mut commands = String::new();
    let mut rest = data;
    let mut keys = format!("a=T,f=100,r={LINES},");
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(KITTY_CHUNK));
        let more = usize::from(!after.is_empty());
        commands.push_str(&format!("\x1b_G{keys}m={more};{chunk}\x1b\\"));
        if after.is_empty() {
            return commands;
        }
        (rest, keys) = (after, String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_known_by_its_name() {
        let found = |names| PictureProtocol::of_terminal(names);
        assert_eq!(found("xterm-kitty "), Some(PictureProtocol::Kitty));
        assert_eq!(
            found("xterm-256color iterm.app"),
            Some(PictureProtocol::Iterm)
        );
        assert_eq!(found("xterm-256color "), None);
    }

    #[test]
    fn a_picture_is_sent_whole() {
        let mut jpeg = Cursor::new(Vec::new());
        let pixels = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 9]));
        pixels.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let sent = PictureProtocol::Iterm.picture(&jpeg).unwrap();
        assert!(sent.contains(&STANDARD.encode(&jpeg)));
        assert_eq!(PictureProtocol::Kitty.picture(b"no picture"), None);

        let data = "a".repeat(KITTY_CHUNK) + &"b".repeat(8);
        let sent = kitty(&data);
        let commands: Vec<&str> = sent.split_terminator("\x1b\\").collect();
        assert_eq!(commands.len(), 2);
        assert!(commands[0].starts_with("\x1b_Ga=T,f=100,r=6,m=1;aaaa"));
        assert_eq!(commands[1], "\x1b_Gm=0;bbbbbbbb");
        let png = PictureProtocol::Kitty.picture(&jpeg).unwrap();
        assert!(png.starts_with("\x1b_Ga=T,f=100,r=6,m="));
    }
}
