#!/bin/sh
# Says what is left to a person once `make release` has built and checked dist/.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
number=0
left() {
    number=$((number + 1))
    printf '%3d. %s\n' "$number" "$*"
}

ls -l dist
printf '\nBuilt and checked: %s. What is left to a person:\n' "$version"
case $version in *.dev*)
    left "This is a rehearsal: take .dev off the version in pyproject.toml and bigcodec_cli/__init__.py," \
        "head CHANGELOG.md with '## [${version%.dev*}] - DATE', run 'make docs' and 'make release' again." ;;
esac
grep -q '^Repository = ' pyproject.toml ||
    left "[project.urls] names no repository: add its address if there is one by now."
! grep -q 'no public repository' SECURITY.md ||
    left "SECURITY.md names no address for reports."
! grep -q 'may still change' format/SPEC.md README.md ||
    left "format/SPEC.md or README.md still says that the format may change."
test -z "$(git status --porcelain 2>/dev/null)" || left "Commit what 'git status' shows."
left "Listen: sh examples/demo.sh, and docs/ for the figures."
left "git tag -a v${version%.dev*} -m 'bigcodec-cli ${version%.dev*}', and push it."
left "twine upload dist/*   (an account on the index, two-factor; a version can never be uploaded twice)"
left "From the index, on another machine: pipx install bigcodec-cli, and compress a file."
