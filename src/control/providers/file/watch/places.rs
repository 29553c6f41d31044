//! The places that determine where a path leads: the folders, and the names in them, whose change can redirect it.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The maximum number of symbolic links that are followed on one path, the same as in Linux.
const LINKS_MAX: usize = 40;

/// Returns the place of every symbolic link on an absolute path, and that of the file itself: a folder whose path has no
/// symbolic links, and a name in it. If the path leads nowhere, the last place is that of the first missing part.
///
/// Folders that are not links are left out: `/` and `/etc` would report the changes of all other programs there. The
/// removal of a watched folder is an event of that folder.
pub(super) fn places(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut places = Vec::new();
    let mut folder = PathBuf::from("/");
    let mut ahead = path.to_owned();
    let mut links = 0;
    loop {
        let mut components = ahead.components();
        let Some(component) = components.next() else { return places };
        let rest = components.as_path().to_owned();
        match component {
            Component::RootDir => folder = PathBuf::from("/"),
            Component::ParentDir => drop(folder.pop()),
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                let next = folder.join(name);
                match fs::symlink_metadata(&next) {
                    Ok(found) if found.is_dir() && rest != Path::new("") => folder = next,
                    Ok(found) if found.is_symlink() && links < LINKS_MAX => {
                        links += 1;
                        places.push((folder.clone(), name.to_owned()));
                        // A link that is gone by now is found missing by the next look, because its name is among the
                        // places.
                        let Ok(target) = fs::read_link(&next) else { return places };
                        ahead = target.join(rest);
                        continue;
                    }
                    _ => {
                        places.push((folder, name.to_owned()));
                        return places;
                    }
                }
            }
        }
        ahead = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_a_place_and_the_end_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("real/inner")).unwrap();
        fs::write(root.join("real/inner/file"), "").unwrap();
        symlink("real", root.join("folder")).unwrap();
        symlink(root.join("folder/inner/../inner/file"), root.join("file")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("nowhere/at/all", root.join("dangling")).unwrap();

        let at = |place: &str| {
            let place = root.join(place);
            (place.parent().unwrap().to_owned(), place.file_name().unwrap().to_owned())
        };
        for (path, expected) in [
            ("real/inner/file", &["real/inner/file"][..]),
            ("folder/inner/file", &["folder", "real/inner/file"]),
            ("file", &["file", "folder", "real/inner/file"]),
            ("real/inner", &["real/inner"]),
            ("real/../real/./inner/file", &["real/inner/file"]),
            ("real/none/file", &["real/none"]),
            ("real/inner/file/below", &["real/inner/file"]),
            ("dangling", &["dangling", "nowhere"]),
            ("dangling/..", &["dangling", "nowhere"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|place| at(place)).collect();
            assert_eq!(places(&root.join(path)), expected, "{path}");
        }
        assert_eq!(places(&root.join("loop")).len(), LINKS_MAX + 1);
    }
}
