//! Tests of the convolution against the scalar loops of `backbone/tests/reference.rs`.

use std::ops::Range;

use half::bf16;
use proptest::prelude::*;
use uard_core::random::{Draws, uniform};

use super::*;
use crate::backbone::maps::Size;
use crate::backbone::tests::reference::{self, Map};

/// The most that an addition in f32 rounds by, relative to the sum of the products' absolute
/// values: half a unit in the last place.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

fn numbers(label: &str, count: usize) -> Vec<f32> {
    uniform(&mut Draws::new(1).stream(label, &[]), -1.0, 1.0, count)
}

/// The shapes of a convolution.
#[derive(Debug, Clone)]
struct Case {
    photos: usize,
    size: Size,
    window: Window,
    channels: Channels,
}

impl Case {
    fn kernel(&self) -> Kernel {
        let Channels { outputs, inputs } = self.channels;
        let count = outputs * inputs * self.window.kernel.area();
        Kernel {
            values: numbers("kernel", count),
            channels: self.channels,
            bias: numbers("bias", outputs),
        }
    }

    fn input<T: Number>(&self) -> Maps<T> {
        let Size { height, width } = self.size;
        let shape = [self.photos, height, width, self.channels.inputs];
        let values = numbers("input", shape.iter().product());
        Maps::new(values.into_iter().map(T::from_f32).collect(), shape)
    }

    /// The result of the scalar loops for input and kernel rounded to `T`, after `change` is
    /// applied to each of their numbers.
    fn expected<T: Number>(&self, change: fn(f32) -> f32) -> Vec<f32> {
        let kernel = self.kernel();
        let values = kernel
            .values
            .iter()
            .map(|x| change(T::from_f32(*x).to_f32()));
        let values: Vec<f32> = values.collect();
        let bias: Vec<f32> = kernel.bias.into_iter().map(change).collect();
        let input = self.input::<T>().widened();
        let photos = (0..self.photos).flat_map(|photo| {
            let numbers: Vec<f32> = input.photo(photo).iter().map(|x| change(*x)).collect();
            let map = Map {
                values: &numbers,
                size: self.size,
                channels: self.channels.inputs,
            };
            reference::convolution(map, &values, &bias, self.window)
        });
        photos.collect()
    }

    fn check<T: Number>(&self, rounding: f64) -> Result<(), TestCaseError> {
        let layer = Convolution::<T>::new(&self.kernel(), self.window, Nonlinearity::Identity);
        let found = layer.forward(&self.input::<T>()).widened();
        let (expected, sizes) = (self.expected::<T>(|x| x), self.expected::<T>(f32::abs));
        prop_assert_eq!(found.values().len(), expected.len());
        // An addition for each product, one for the bias, and one for the rounding of the expected
        // number itself.
        let additions = self.window.kernel.area() * self.channels.inputs + 2;
        for ((found, expected), size) in found.values().iter().zip(&expected).zip(&sizes) {
            let (found, expected) = (f64::from(*found), f64::from(*expected));
            let sums = additions as f64 * UNIT * f64::from(*size);
            let bound = sums + rounding * (expected.abs() + sums);
            prop_assert!((found - expected).abs() <= bound, "{} {}", found, expected);
        }
        Ok(())
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let size = |heights: Range<usize>, widths: Range<usize>| {
        (heights, widths).prop_map(|(height, width)| Size { height, width })
    };
    let steps = || size(1..4, 1..4);
    let window = (size(1..5, 1..8), steps(), size(0..4, 0..4), steps());
    let channels = (1..40_usize, 1..36_usize);
    let channels = channels.prop_map(|(outputs, inputs)| Channels { outputs, inputs });
    (1..3_usize, size(1..20, 1..20), window, channels).prop_filter_map(
        "a window that fits",
        |(photos, size, (kernel, stride, padding, dilation), channels)| {
            let window = Window {
                kernel,
                stride,
                padding,
                dilation,
            };
            window.output(size)?;
            Some(Case {
                photos,
                size,
                window,
                channels,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_shape_equals_the_reference(case in cases()) {
        case.check::<f32>(0.0)?;
        // The output is rounded to bf16 as well: half a unit in its last place, 2^-8.
        case.check::<bf16>(2.0_f64.powi(-8))?;
    }
}

/// The windows of the networks, with more output channels than are computed at a time and more
/// pixels than a block has.
#[test]
fn windows_of_networks_equal_the_reference() {
    let windows = [
        (Window::square(1, 1, 0), (64, 200)),
        (Window::square(1, 2, 0), (32, 97)),
        (Window::square(3, 2, 0), (3, 32)),
        (Window::square(7, 2, 3), (3, 16)),
        (Window::same(1, 7), (48, 20)),
        (Window::same(7, 1), (48, 20)),
        (Window::same(5, 5), (48, 17)),
        (Window::dilated(3, 2), (48, 17)),
    ];
    for (window, (inputs, outputs)) in windows {
        let case = Case {
            photos: 2,
            size: Size::new(35, 19),
            window,
            channels: Channels { outputs, inputs },
        };
        case.check::<f32>(0.0).unwrap();
        case.check::<bf16>(2.0_f64.powi(-8)).unwrap();
    }
}

fn case() -> Case {
    Case {
        photos: 3,
        size: Size::new(21, 18),
        window: Window::square(3, 1, 1),
        channels: Channels {
            outputs: 40,
            inputs: 70,
        },
    }
}

#[test]
fn threads_and_other_photos_of_the_batch_change_nothing() {
    let layer = Convolution::<f32>::new(&case().kernel(), case().window, Nonlinearity::Relu);
    let input = case().input::<f32>();
    let whole = layer.forward(&input);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let found = pool.build().unwrap().install(|| layer.forward(&input));
        assert_eq!(found, whole);
    }
    for photo in 0..3 {
        let [_, height, width, channels] = input.shape();
        let alone = Maps::new(input.photo(photo).to_vec(), [1, height, width, channels]);
        assert_eq!(layer.forward(&alone).values(), whole.photo(photo));
    }
}

#[test]
fn shortcut_is_added_before_relu_and_other_channels_are_not_written() {
    let kernel = case().kernel();
    let plain = Convolution::<f32>::new(&kernel, case().window, Nonlinearity::Identity);
    let layer = Convolution::<f32>::new(&kernel, case().window, Nonlinearity::Relu);
    let input = case().input::<f32>();
    let sums = plain.forward(&input);
    let shortcut = Maps::new(numbers("shortcut", sums.values().len()), sums.shape());
    let mut shape = sums.shape();
    shape[3] += 3;
    let mut maps = Maps::new(vec![-9.0; shape.iter().product()], shape);
    let target = Target {
        maps: &mut maps,
        channel: 2,
    };
    layer.forward_into(&input, target, Some(&shortcut));
    let pixels = sums.values().chunks(40).zip(shortcut.values().chunks(40));
    for (found, (sums, shortcut)) in maps.values().chunks(43).zip(pixels) {
        assert_eq!((found[0], found[1], found[42]), (-9.0, -9.0, -9.0));
        for (found, (sum, added)) in found[2..42].iter().zip(sums.iter().zip(shortcut)) {
            assert_eq!(*found, (sum + added).max(0.0));
        }
    }
}

#[test]
fn relu_keeps_nan() {
    let window = Window::square(1, 1, 0);
    let kernel = Kernel {
        values: vec![1.0],
        channels: Channels {
            outputs: 1,
            inputs: 1,
        },
        bias: vec![0.0],
    };
    let layer = Convolution::<f32>::new(&kernel, window, Nonlinearity::Relu);
    let found = layer.forward(&Maps::new(vec![-1.0, f32::NAN, 2.0], [1, 1, 3, 1]));
    let [below, unknown, above] = found.values() else {
        panic!("three pixels")
    };
    assert_eq!((*below, *above), (0.0, 2.0));
    assert!(unknown.is_nan());
}
