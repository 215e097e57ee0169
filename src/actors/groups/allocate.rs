//! How queues are shared among the members of a group (`AllocateMessageQueueAveragely`,
//! `AllocateMessageQueueAveragelyByCircle`).

/// A way to share queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Each member gets a run of neighbouring queues.
    Average,
    /// Queues are dealt out like cards.
    Circle,
}

impl Strategy {
    /// The strategy that clients call by this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// The queues of member number `member` out of `members`: both lists have to be sorted alike
    /// by everybody who shares them. Nothing for a member that does not exist.
    pub fn allocate<T: Clone>(self, queues: &[T], member: usize, members: usize) -> Vec<T> {
        if member >= members {
            return Vec::new();
        }
        match self {
            Self::Circle => queues
                .iter()
                .skip(member)
                .step_by(members)
                .cloned()
                .collect(),
            Self::Average => {
                // The first ones take one queue more if it does not come out even.
                let (each, more) = (queues.len() / members, queues.len() % members);
                let start = member * each + member.min(more);
                let count = each + usize::from(member < more);
                queues.iter().skip(start).take(count).cloned().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn shares_are_those_of_the_reference() {
        let queues: Vec<i32> = (0..10).collect();
        let share = |strategy: Strategy, member| strategy.allocate(&queues, member, 4);
        assert_eq!(share(Strategy::Average, 0), [0, 1, 2]);
        assert_eq!(share(Strategy::Average, 1), [3, 4, 5]);
        assert_eq!(share(Strategy::Average, 2), [6, 7]);
        assert_eq!(share(Strategy::Average, 3), [8, 9]);
        assert_eq!(share(Strategy::Circle, 1), [1, 5, 9]);
        assert_eq!(share(Strategy::Circle, 3), [3, 7]);
        assert!(Strategy::Average.allocate(&queues, 10, 11).is_empty());
        assert_eq!(Strategy::Average.allocate(&queues, 9, 11), [9]);
        assert!(share(Strategy::Average, 4).is_empty());
        assert_eq!(Strategy::from_name("AVG"), Some(Strategy::Average));
    }

    proptest! {
        #[test]
        fn every_queue_has_exactly_one_owner(queues in 0usize..200, members in 1usize..50) {
            let queues: Vec<usize> = (0..queues).collect();
            for strategy in [Strategy::Average, Strategy::Circle] {
                let shares = (0..members).flat_map(|member| strategy.allocate(&queues, member, members));
                let mut all: Vec<usize> = shares.collect();
                all.sort_unstable();
                prop_assert_eq!(&all, &queues);
            }
        }
    }
}
