//! Which pixels does an output pixel of a convolution or a pool see?

/// A window that slides over feature maps.
///
/// ```text
/// span   = dilation (kernel - 1) + 1
/// output = (input + 2 padding - span) / stride + 1, rounded down, for each axis
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: (usize, usize),
    /// Steps down and to the right, in pixels.
    pub stride: (usize, usize),
    /// Pixels added above and below, and left and right.
    pub padding: (usize, usize),
    /// Steps between the pixels that it sees, down and to the right: 1 where they are neighbours.
    pub dilation: (usize, usize),
}

impl Window {
    /// A square window.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
            dilation: (1, 1),
        }
    }

    /// A window of odd sides that moves by single pixels and keeps height and width.
    pub const fn same(height: usize, width: usize) -> Self {
        Self {
            kernel: (height, width),
            stride: (1, 1),
            padding: ((height - 1) / 2, (width - 1) / 2),
            dilation: (1, 1),
        }
    }

    /// A square window of odd side that sees every `dilation`-th pixel, moves by single pixels and
    /// keeps height and width.
    pub const fn dilated(kernel: usize, dilation: usize) -> Self {
        let padding = (kernel - 1) / 2 * dilation;
        Self {
            dilation: (dilation, dilation),
            ..Self::square(kernel, 1, padding)
        }
    }

    /// Rows and columns from the first pixel that it sees to the last; `None` where a side or the
    /// dilation is zero.
    pub(crate) fn span(&self) -> Option<(usize, usize)> {
        let span = |kernel: usize, dilation: usize| {
            (dilation > 0).then_some(dilation * kernel.checked_sub(1)? + 1)
        };
        Some((
            span(self.kernel.0, self.dilation.0)?,
            span(self.kernel.1, self.dilation.1)?,
        ))
    }

    /// Height and width of the output; `None` where the window does not fit once, or has a side, a
    /// stride or a dilation of zero.
    ///
    /// ```
    /// use uard_features::backbone::Window;
    /// assert_eq!(Window::square(3, 2, 0).output((299, 299)), Some((149, 149)));
    /// assert_eq!(Window::same(1, 7).output((17, 17)), Some((17, 17)));
    /// assert_eq!(Window::dilated(3, 2).output((14, 14)), Some((14, 14)));
    /// assert_eq!(Window::square(3, 1, 0).output((2, 9)), None);
    /// ```
    pub fn output(&self, (height, width): (usize, usize)) -> Option<(usize, usize)> {
        let steps = |size: usize, span: usize, stride: usize, padding: usize| {
            let room = (size + 2 * padding).checked_sub(span)?;
            (size > 0 && stride > 0).then(|| room / stride + 1)
        };
        let span = self.span()?;
        Some((
            steps(height, span.0, self.stride.0, self.padding.0)?,
            steps(width, span.1, self.stride.1, self.padding.1)?,
        ))
    }
}
