//! Values by their type.

use std::any::Any;

/// Values by their type. There are few, so a search is enough.
///
/// An empty map is one null pointer.
#[derive(Default)]
pub(super) struct TypeMap(Option<Box<Values>>);

#[derive(Default)]
struct Values(Vec<Box<dyn Any>>);

impl TypeMap {
    pub(super) fn insert<T: 'static>(&mut self, value: T) -> Option<T> {
        let before = self.remove::<T>();
        self.0.get_or_insert_default().0.push(Box::new(value));
        before
    }

    pub(super) fn get<T: 'static>(&self) -> Option<&T> {
        self.0.as_ref()?.0.iter().find_map(|value| value.downcast_ref())
    }

    pub(super) fn remove<T: 'static>(&mut self) -> Option<T> {
        let values = &mut self.0.as_mut()?.0;
        let at = values.iter().position(|value| value.is::<T>())?;
        let value = values.swap_remove(at).downcast().ok()?;
        if values.is_empty() {
            self.0 = None;
        }
        Some(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_costs_eight_bytes() {
        assert_eq!(size_of::<TypeMap>(), size_of::<usize>());
        let mut extensions = TypeMap::default();
        extensions.insert(1_u8);
        extensions.remove::<u8>();
        assert!(extensions.0.is_none());
    }
}
