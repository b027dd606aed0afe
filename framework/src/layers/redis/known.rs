//! The names that groups with a log had when they were last looked up.
//!
//! With them an event needs no look-up before it is appended. The script does nothing if they do not hold any more.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use super::names::stands_for_process;
use crate::GroupName;

/// How many names of a group are kept at most. All of them go along with each event.
const NAMES: usize = 64;

/// Of how many groups names are kept at most.
const GROUPS: usize = 10_000;

/// The names of groups.
#[derive(Debug, Default)]
pub(super) struct KnownNames(RefCell<HashMap<GroupName, Rc<[String]>>>);

impl KnownNames {
    /// Notes the names of a group.
    ///
    /// Only the names of whole processes are kept. A consumer of this process that another program has put into the
    /// group is served when its name is looked up, and would be served twice if the look-up did not hold.
    pub(super) fn note(&self, group: &GroupName, names: &[String]) {
        if names.len() > NAMES || !names.iter().all(|name| stands_for_process(name)) {
            return;
        }
        let mut known = self.0.borrow_mut();
        if known.len() >= GROUPS {
            known.clear();
        }
        known.insert(group.clone(), names.into());
    }

    /// The names of a group, if they are known.
    pub(super) fn get(&self, group: &GroupName) -> Option<Rc<[String]>> {
        self.0.borrow().get(group).cloned()
    }

    pub(super) fn has(&self, group: &GroupName) -> bool {
        self.0.borrow().contains_key(group)
    }

    pub(super) fn forget(&self, group: &GroupName) {
        self.0.borrow_mut().remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_whole_processes_are_kept() {
        let (known, group) = (KnownNames::default(), GroupName::new("chat_1").unwrap());
        let process = "specific.aaaaaaaaaaaa!g.1".to_owned();
        known.note(&group, &[process.clone(), "specific.aaaaaaaaaaaa!1.x".to_owned()]);
        assert_eq!(known.get(&group), None);
        known.note(&group, &vec![process.clone(); NAMES + 1]);
        assert_eq!(known.get(&group), None);
        known.note(&group, std::slice::from_ref(&process));
        assert_eq!(known.get(&group).as_deref(), Some(&[process][..]));
        known.forget(&group);
        assert!(!known.has(&group));
    }
}
