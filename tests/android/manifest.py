#!/usr/bin/env python3
"""Checks examples/android's manifest against what the app is and does:

    manifest.py AndroidManifest.xml JAVA-FOLDER
    manifest.py --classes AndroidManifest.xml PACKAGE     the names of the components' classes

Prints what is wrong.
"""
import pathlib
import sys
import xml.etree.ElementTree as xml

ANDROID = "{http://schemas.android.com/apk/res/android}"
PERMISSION = "android.permission."
# Each, and the words in the sources that need it.
PERMISSIONS = {
    "FOREGROUND_SERVICE": "startForeground(",
    "FOREGROUND_SERVICE_DATA_SYNC": "FOREGROUND_SERVICE_TYPE_DATA_SYNC",
    "POST_NOTIFICATIONS": "permission.POST_NOTIFICATIONS",
    "WAKE_LOCK": "newWakeLock(",
    "WRITE_EXTERNAL_STORAGE": "permission.WRITE_EXTERNAL_STORAGE",
}


def of(element, name, default=None):
    return element.get(ANDROID + name, default)


def check(manifest, java):
    code = "\n".join(file.read_text(encoding="utf-8") for file in pathlib.Path(java).rglob("*.java"))
    application = manifest.find("application")
    asked = {of(element, "name"): element for element in manifest.findall("uses-permission")}

    for name, element in asked.items():
        if name.removeprefix(PERMISSION) not in PERMISSIONS:
            yield f"nothing needs {name}"
    for name, call in PERMISSIONS.items():
        if PERMISSION + name not in asked:
            yield f"{PERMISSION + name} is not asked for"
        elif call not in code:
            yield f"{PERMISSION + name} is asked for, but nothing calls {call}"
    storage = asked.get(PERMISSION + "WRITE_EXTERNAL_STORAGE")
    if storage is not None and of(storage, "maxSdkVersion") != "28":
        yield "WRITE_EXTERNAL_STORAGE is for Android before 10: maxSdkVersion 28"
    if manifest.find("uses-permission-sdk-23") is not None:
        yield "permissions are asked for in one way"

    for element in manifest.findall("uses-feature"):
        if of(element, "required") != "false":
            yield f"{of(element, 'name')} is required, so that devices without it do not see the app"
    vulkan = [element for element in manifest.findall("uses-feature") if of(element, "name") == "android.hardware.vulkan.version"]
    if len(vulkan) != 1 or int(of(vulkan[0], "version", "0"), 0) != 1 << 22 | 1 << 12:
        yield "Vulkan 1.1 is not named"

    for name in ("usesCleartextTraffic", "debuggable", "testOnly", "requestLegacyExternalStorage"):
        if of(application, name, "false") != "false":
            yield f"application: {name} is on"
    if of(application, "allowBackup") != "false":
        yield "application: allowBackup is not off"
    if of(application, "networkSecurityConfig") is not None:
        yield "application: there is no network to configure"

    for component in application:
        name = of(component, "name")
        exported = of(component, "exported")
        launcher = any(of(category, "name") == "android.intent.category.LAUNCHER" for category in component.iter("category"))
        if exported not in ("true", "false"):
            yield f"{name}: exported is not said"
        if (exported == "true") != (component.tag == "activity" and launcher):
            yield f"{name}: exported is {exported}"
        if component.tag == "service" and of(component, "foregroundServiceType") != "dataSync":
            yield f"{name}: foregroundServiceType is {of(component, 'foregroundServiceType')}"
        if component.tag == "provider":
            if of(component, "grantUriPermissions") != "true":
                yield f"{name}: nobody can be granted a picture"
            if f'AUTHORITY = "{of(component, "authorities")}"' not in code:
                yield f"{name}: the sources know another authority than {of(component, 'authorities')}"
        if component.tag == "activity" and of(component, "configChanges") is not None:
            yield f"{name}: configuration changes are survived, not hidden"
    counts = {tag: len(application.findall(tag)) for tag in ("activity", "service", "provider", "receiver")}
    if counts != {"activity": 1, "service": 1, "provider": 1, "receiver": 0}:
        yield f"components: {counts}"


def classes(manifest, package):
    for component in manifest.find("application"):
        name = of(component, "name")
        yield package + name if name.startswith(".") else name


if __name__ == "__main__":
    if sys.argv[1] == "--classes":
        print(*classes(xml.parse(sys.argv[2]).getroot(), sys.argv[3]), sep="\n")
    else:
        wrong = list(check(xml.parse(sys.argv[1]).getroot(), *sys.argv[2:]))
        print(*wrong, sep="\n", end="\n" if wrong else "")
        sys.exit(bool(wrong))
