//! Which pixels does an output pixel of a convolution or a pool see?

/// A window that slides over feature maps.
///
/// ```text
/// output = (input + 2 padding - kernel) / stride + 1, rounded down, for each axis
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: (usize, usize),
    /// Steps down and to the right, in pixels.
    pub stride: (usize, usize),
    /// Pixels added above and below, and left and right.
    pub padding: (usize, usize),
}

impl Window {
    /// A square window.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
        }
    }

    /// A window of odd sides that moves by single pixels and keeps height and width.
    pub const fn same(height: usize, width: usize) -> Self {
        Self {
            kernel: (height, width),
            stride: (1, 1),
            padding: ((height - 1) / 2, (width - 1) / 2),
        }
    }

    /// Height and width of the output; `None` where the window does not fit once, or has a side or a
    /// stride of zero.
    ///
    /// ```
    /// use uard_features::backbone::Window;
    /// assert_eq!(Window::square(3, 2, 0).output((299, 299)), Some((149, 149)));
    /// assert_eq!(Window::same(1, 7).output((17, 17)), Some((17, 17)));
    /// assert_eq!(Window::square(3, 1, 0).output((2, 9)), None);
    /// ```
    pub fn output(&self, (height, width): (usize, usize)) -> Option<(usize, usize)> {
        let steps = |size: usize, kernel: usize, stride: usize, padding: usize| {
            let room = (size + 2 * padding).checked_sub(kernel)?;
            (size > 0 && kernel > 0 && stride > 0).then(|| room / stride + 1)
        };
        Some((
            steps(height, self.kernel.0, self.stride.0, self.padding.0)?,
            steps(width, self.kernel.1, self.stride.1, self.padding.1)?,
        ))
    }
}
