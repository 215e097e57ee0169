//! The permissions of a topic (`PermName`).

/// Priority: not valid for topics of users.
pub const PRIORITY: i32 = 0x8;
/// Consumers may read.
pub const READ: i32 = 0x4;
/// Producers may write.
pub const WRITE: i32 = 0x2;
/// Other topics may be created after this one.
pub const INHERIT: i32 = 0x1;

/// Whether consumers may read.
pub fn is_readable(perm: i32) -> bool {
    perm & READ != 0
}

/// Whether producers may write.
pub fn is_writable(perm: i32) -> bool {
    perm & WRITE != 0
}

/// Whether other topics may be created after this one.
pub fn is_inherited(perm: i32) -> bool {
    perm & INHERIT != 0
}

/// Whether this is a permission that a topic may have.
pub fn is_valid(perm: i32) -> bool {
    (0..PRIORITY).contains(&perm)
}

/// The permission as tools print it: `RW-`, with a dash for each missing right.
pub fn text(perm: i32) -> String {
    let letter = |on: bool, letter: char| if on { letter } else { '-' };
    [
        letter(is_readable(perm), 'R'),
        letter(is_writable(perm), 'W'),
        letter(is_inherited(perm), 'X'),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_a_letter_for_each_right() {
        assert_eq!(text(7), "RWX");
        assert_eq!(text(6), "RW-");
        assert_eq!(text(2), "-W-");
        assert!(is_valid(0) && is_valid(7) && !is_valid(8) && !is_valid(-1));
    }
}
