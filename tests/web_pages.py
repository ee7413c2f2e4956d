"""Pages of export/web.py for tests, with a runtime in which nothing runs."""

from trained_run import parse

from export import web, web_runtime

# As the pages of the fixture name them.
NETS = {
    "serving_default": ("rk4", 1),
    "euler_1": ("euler", 1),
    "midpoint_2": ("midpoint", 2),
}
FEW = ["--parity_images=20", "--accuracy_images=100"]
# That of rk4:1 is the first, so no second one.
SEVERAL = "--manifestations=euler:1,midpoint:2,rk4:1"
ONE = "--manifestations=rk4:1"


def export_page(run, data_dir, output, package, *more):
    """A page; None: no data set, and the runtime of npm."""
    given = {"data_dir": data_dir, "onnxruntime_web": package}
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    arguments = [f"--run={run}", f"--output={output}", *FEW, *flags, *more]
    return web.main(parse(arguments, web.Options))


def empty_package(folder):
    """A folder like node_modules/onnxruntime-web, in which nothing runs."""
    for name, path in web_runtime.FILES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(name)
    return folder
