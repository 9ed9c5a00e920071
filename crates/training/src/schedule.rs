//! The schedule of the learning rate: step decay, constant or cosine, with a linear warm-up.

use crate::config::{ScheduleConfig, ScheduleKind};

/// The factor on the learning rate at a step.
///
/// ```text
/// step      1, then `factor` once step >= decay_at * steps
/// constant  1
/// cosine    factor + (1 - factor) (1 + cos(pi step / steps)) / 2
/// ```
///
/// During the first `warm_up_steps` it is multiplied by `(step + 1) / warm_up_steps`.
/// `step` counts from 0, `steps` is the length of the whole run.
///
/// ```
/// use uard_training::{config::ScheduleConfig, schedule::factor_at};
///
/// let halfway = ScheduleConfig::default();
/// assert_eq!(factor_at(&halfway, 49, 100), 1.0);
/// assert_eq!(factor_at(&halfway, 50, 100), 0.1);
/// ```
pub fn factor_at(schedule: &ScheduleConfig, step: usize, steps: usize) -> f64 {
    let progress = step as f64 / steps.max(1) as f64;
    let shape = match schedule.kind {
        ScheduleKind::Constant => 1.0,
        ScheduleKind::Step if step as f64 >= schedule.decay_at * steps as f64 => schedule.factor,
        ScheduleKind::Step => 1.0,
        ScheduleKind::Cosine => {
            let half_wave = (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0;
            schedule.factor + (1.0 - schedule.factor) * half_wave
        }
    };
    if step < schedule.warm_up_steps {
        shape * (step + 1) as f64 / schedule.warm_up_steps as f64
    } else {
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_goes_from_one_to_the_factor() {
        let schedule = ScheduleConfig {
            kind: ScheduleKind::Cosine,
            factor: 0.2,
            ..ScheduleConfig::default()
        };
        assert_eq!(factor_at(&schedule, 0, 10), 1.0);
        assert!((factor_at(&schedule, 5, 10) - 0.6).abs() < 1e-12);
        assert!((factor_at(&schedule, 10, 10) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn warm_up_rises_to_the_full_rate() {
        let schedule = ScheduleConfig {
            warm_up_steps: 4,
            ..ScheduleConfig::default()
        };
        let factors: Vec<f64> = (0..5).map(|step| factor_at(&schedule, step, 100)).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn decay_at_one_leaves_the_last_step_undecayed() {
        let schedule = ScheduleConfig {
            decay_at: 1.0,
            ..ScheduleConfig::default()
        };
        assert_eq!(factor_at(&schedule, 99, 100), 1.0);
    }
}
