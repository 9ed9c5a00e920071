//! Draws boxes and labels on a photo, and lines of text below it.

use std::convert::Infallible;
use std::io::Cursor;

use anyhow::Context;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_10X20;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{
    DrawTarget, Drawable, OriginDimensions, Pixel, Point, Primitive, RgbColor, Size,
};
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};
use uard_features::backbone::Photo;

/// Colours of marks that are told apart by people with any colour vision: Okabe and Ito's.
const COLOURS: [Rgb888; 7] = [
    Rgb888::new(230, 159, 0),
    Rgb888::new(86, 180, 233),
    Rgb888::new(0, 158, 115),
    Rgb888::new(240, 228, 66),
    Rgb888::new(213, 94, 0),
    Rgb888::new(204, 121, 167),
    Rgb888::new(0, 114, 178),
];

/// Smaller photos are enlarged to this longest side, so that labels are not larger than what they name.
const LEAST_SIDE: u32 = 800;

const LINE_HEIGHT: u32 = 26;
const CHARACTER: Size = Size::new(10, 20);
const STROKE: u32 = 3;

/// A box with a label.
pub struct Mark {
    /// The label.
    pub label: String,
    /// x0, y0, x1, y1 in pixels of the photo.
    pub corners: [f32; 4],
}

/// A line of text below the photo, with a square of the colour of a mark.
pub struct Line {
    /// The text.
    pub text: String,
    /// The index of the mark that it explains.
    pub mark: Option<usize>,
}

/// The photo with marks and lines, as PNG.
///
/// # Errors
/// When the picture cannot be encoded.
pub fn draw(photo: &Photo, marks: &[Mark], lines: &[Line]) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (photo.width(), photo.height());
    let pixels = RgbImage::from_raw(width, height, photo.pixels().to_vec());
    let pixels = pixels.context("the photo has another number of pixels than its size says")?;
    let scale = f64::from(LEAST_SIDE) / f64::from(width.max(height));
    let scale = scale.max(1.0);
    let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
    let shown = match scale > 1.0 {
        true => resize(
            &pixels,
            scaled(width),
            scaled(height),
            FilterType::CatmullRom,
        ),
        false => pixels,
    };
    let text_height = LINE_HEIGHT * lines.len() as u32;
    let longest = lines.iter().map(|line| line.text.chars().count()).max();
    let text_width = CHARACTER.width * (longest.unwrap_or(0) as u32 + 4);
    let size = [shown.width().max(text_width), shown.height() + text_height];
    let mut canvas = Canvas(RgbImage::from_pixel(size[0], size[1], Rgb([24, 24, 24])));
    image::imageops::replace(&mut canvas.0, &shown, 0, 0);
    let limits = [shown.width(), shown.height()];
    for (at, mark) in marks.iter().enumerate() {
        canvas.mark(mark, colour(at), scale, limits);
    }
    for (at, line) in lines.iter().enumerate() {
        canvas.line(line, shown.height() + LINE_HEIGHT * at as u32);
    }
    let mut png = Cursor::new(Vec::new());
    let encoded = canvas.0.write_to(&mut png, ImageFormat::Png);
    encoded.context("encoding the picture")?;
    Ok(png.into_inner())
}

fn colour(mark: usize) -> Rgb888 {
    COLOURS[mark % COLOURS.len()]
}

/// A picture that embedded-graphics draws on.
struct Canvas(RgbImage);

impl Canvas {
    /// Draws a box, and its label inside at its upper left corner.
    fn mark(&mut self, mark: &Mark, colour: Rgb888, scale: f64, limits: [u32; 2]) {
        let scaled = |at: usize| (f64::from(mark.corners[at]) * scale).round() as i32;
        let within = |at: usize| scaled(at).clamp(0, limits[at % 2].saturating_sub(1) as i32);
        let first = Point::new(within(0), within(1));
        let outline = Rectangle::with_corners(first, Point::new(within(2), within(3)));
        self.draw(&outline.into_styled(PrimitiveStyle::with_stroke(colour, STROKE)));
        let text_width = CHARACTER.width * mark.label.chars().count() as u32;
        let size = Size::new(text_width + 6, CHARACTER.height + 2);
        let ground = Rectangle::new(first, size);
        self.draw(&ground.into_styled(PrimitiveStyle::with_fill(colour)));
        self.text(&mark.label, first + Point::new(3, 1), Rgb888::BLACK);
    }

    fn line(&mut self, line: &Line, y: u32) {
        let y = y as i32 + (LINE_HEIGHT - CHARACTER.height) as i32 / 2;
        if let Some(mark) = line.mark {
            let square = Rectangle::new(Point::new(8, y + 3), Size::new(14, 14));
            self.draw(&square.into_styled(PrimitiveStyle::with_fill(colour(mark))));
        }
        self.text(&line.text, Point::new(30, y), Rgb888::WHITE);
    }

    fn text(&mut self, text: &str, at: Point, colour: Rgb888) {
        let style = MonoTextStyle::new(&FONT_10X20, colour);
        self.draw(&Text::with_baseline(text, at, style, Baseline::Top));
    }

    fn draw(&mut self, shape: &impl Drawable<Color = Rgb888, Output = impl Sized>) {
        // Drawing into memory cannot fail.
        let Ok(_) = shape.draw(self);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else {
                continue;
            };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_the_colour_of_its_mark_and_stays_on_the_photo() {
        let photo = Photo::new(vec![0; 3 * 100 * 50], 100, 50).unwrap();
        let mark = |corners| Mark {
            label: "dog".to_owned(),
            corners,
        };
        let marks = [
            mark([10.0, 10.0, 60.0, 40.0]),
            mark([-5.0, 0.0, 500.0, 90.0]),
        ];
        let line = Line {
            text: "dog: shown".to_owned(),
            mark: Some(1),
        };
        let png = draw(&photo, &marks, &[line]).unwrap();
        let drawn = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(drawn.dimensions(), (800, 400 + LINE_HEIGHT));
        assert_eq!(drawn.get_pixel(480, 200), &Rgb([230, 159, 0]));
        assert_eq!(drawn.get_pixel(799, 200), &Rgb([86, 180, 233]));
        assert_eq!(drawn.get_pixel(15, 400 + 13), &Rgb([86, 180, 233]));
    }
}
