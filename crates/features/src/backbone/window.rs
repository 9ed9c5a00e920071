//! The window of a convolution or a pool: kernel, stride, padding and dilation.

use super::maps::Size;

/// A window that slides over feature maps.
///
/// ```text
/// span   = dilation (kernel - 1) + 1
/// output = (input + 2 padding - span) / stride + 1, rounded down, for each axis
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: Size,
    /// Steps down and to the right, in pixels.
    pub stride: Size,
    /// `height` pixels added above and below, `width` pixels left and right.
    pub padding: Size,
    /// Distances down and to the right between the pixels of a window: 1 where they are adjacent.
    pub dilation: Size,
}

impl Window {
    /// A square window.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: Size::square(kernel),
            stride: Size::square(stride),
            padding: Size::square(padding),
            dilation: Size::square(1),
        }
    }

    /// A window of odd sides with stride 1 whose output has the height and width of its input.
    pub const fn same(height: usize, width: usize) -> Self {
        Self {
            kernel: Size::new(height, width),
            stride: Size::square(1),
            padding: Size::new((height - 1) / 2, (width - 1) / 2),
            dilation: Size::square(1),
        }
    }

    /// A square window of odd side with a dilation and stride 1 whose output has the height and
    /// width of its input.
    pub const fn dilated(kernel: usize, dilation: usize) -> Self {
        let padding = (kernel - 1) / 2 * dilation;
        Self {
            dilation: Size::square(dilation),
            ..Self::square(kernel, 1, padding)
        }
    }

    /// Rows and columns from the window's first pixel to its last; `None` where a side or the
    /// dilation is zero.
    pub(crate) fn span(&self) -> Option<Size> {
        let span = |kernel: usize, dilation: usize| {
            (dilation > 0).then_some(dilation * kernel.checked_sub(1)? + 1)
        };
        Some(Size {
            height: span(self.kernel.height, self.dilation.height)?,
            width: span(self.kernel.width, self.dilation.width)?,
        })
    }

    /// Height and width of the output; `None` where the padded input is smaller than the window, or
    /// where a side, a stride or a dilation is zero.
    pub fn output(&self, input: Size) -> Option<Size> {
        let output = |size: usize, span: usize, stride: usize, padding: usize| {
            let room = (size + 2 * padding).checked_sub(span)?;
            (size > 0 && stride > 0).then(|| room / stride + 1)
        };
        let (span, stride, padding) = (self.span()?, self.stride, self.padding);
        Some(Size {
            height: output(input.height, span.height, stride.height, padding.height)?,
            width: output(input.width, span.width, stride.width, padding.width)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_as_large_as_the_windows_that_fit() {
        let large = Size::square(299);
        assert_eq!(
            Window::square(3, 2, 0).output(large),
            Some(Size::square(149))
        );
        let middle = Size::square(17);
        assert_eq!(Window::same(1, 7).output(middle), Some(middle));
        let small = Size::square(14);
        assert_eq!(Window::dilated(3, 2).output(small), Some(small));
        assert_eq!(Window::square(3, 1, 0).output(Size::new(2, 9)), None);
    }
}
