//! `greenroom.js` as an npm package: its types, a bundle, and the hook for React of the page `browser.md`.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use browser_tests::{Browser, Result, Server};
use serde_json::json;

/// A project of a user: the files in `pages`, the code of `browser.md`, and the packages. It is removed when this is dropped.
struct Project(PathBuf);

impl Project {
    fn create(name: &str) -> Result<Self> {
        let packages =
            env::var_os("GREENROOM_NPM").ok_or("GREENROOM_NPM: `tests/run browser` installs the packages")?;
        let packages = Path::new(&packages).join("node_modules");
        let this = Path::new(env!("CARGO_MANIFEST_DIR"));
        let project = Self(env::temp_dir().join(format!("greenroom-{name}-{}", std::process::id())));
        let modules = project.0.join("node_modules");
        fs::create_dir_all(&modules)?;
        for package in fs::read_dir(packages)? {
            let package = package?;
            symlink(package.path(), modules.join(package.file_name()))?;
        }
        // As `npm install path/to/greenroom/framework/js` does.
        symlink(this.join("../../framework/js").canonicalize()?, modules.join("greenroom"))?;
        for file in ["tsconfig.json", "types.ts", "main.tsx"] {
            fs::copy(this.join("pages").join(file), project.0.join(file))?;
        }
        let docs = fs::read_to_string(this.join("../../framework/docs/browser.md"))?;
        for block in docs.split("```ts\n// ").skip(1) {
            let (code, _) = block.split_once("```").ok_or("a block of browser.md has no end")?;
            let (file, code) = code.split_once('\n').ok_or("a block of browser.md has no name")?;
            fs::write(project.0.join(file), code)?;
        }
        Ok(project)
    }

    /// Runs a program of the packages, and returns its output.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let path = self.0.join("node_modules/.bin").join(program);
        let output = Command::new(path).args(arguments).current_dir(&self.0).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{program}: {text}{}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a file left behind in the temporary folder fails no test
    }
}

#[test]
fn the_types_fit_what_a_program_writes_and_the_page_says() -> Result<()> {
    let project = Project::create("types")?;
    assert!(project.0.join("useGreenroom.ts").is_file() && project.0.join("room.ts").is_file());
    project.run("tsc", &["--project", "."])?;
    // A mistake is found: the types are not `any`.
    fs::write(
        project.0.join("wrong.ts"),
        "import { GreenroomSocket } from 'greenroom'; new GreenroomSocket(5);",
    )?;
    let error = project.run("tsc", &["--project", "."]).expect_err("5 is no URL").to_string();
    assert!(error.contains("wrong.ts") && !error.contains("types.ts"), "{error}");
    Ok(())
}

/// React mounts each component twice in its strict mode.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_of_react_leaves_no_socket_behind() -> Result<()> {
    let project = Project::create("react")?;
    let define = "--define:process.env.NODE_ENV=\"development\"";
    let bundle = project.run("esbuild", &["main.tsx", "--bundle", "--format=iife", define])?;
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let other = browser.enter(&server, "one", "Bo").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let watch = "window.sockets = [];
        window.WebSocket = class extends WebSocket {
          constructor(...given) { super(...given); window.sockets.push(this); }
        };";
    page.run(&format!("{watch}{bundle}"), json!([])).await?;

    let shown = "(({ state, room, texts }) => `${state} ${room} ${texts}` === args[0])(
        document.getElementById('react')?.dataset ?? {})";
    let open = "window.sockets.filter(({ readyState }) => readyState < 2).length === args[0]";
    page.wait(shown, json!(["open one "])).await?;
    page.wait(open, json!([1])).await?;
    assert_eq!(page.run("return window.sockets.length", json!([])).await?, 2, "it was mounted twice");
    other.wait_for_members(&["Bo", "React"]).await?;
    page.click("say").await?;
    page.wait(shown, json!(["open one hello one"])).await?;
    other.wait_for_message("React", "hello one").await?;
    assert_eq!(other.messages().await?.len(), 1);

    page.click("other").await?;
    page.wait(shown, json!(["open two hello one"])).await?;
    other.wait_for_members(&["Bo"]).await?;
    page.wait(open, json!([1])).await?;
    page.click("leave").await?;
    page.wait(open, json!([0])).await?;
    assert_eq!(
        browser.console_errors().await?.iter().filter(|line| !line.contains("WebSocket is closed")).count(),
        0
    );
    Ok(())
}
