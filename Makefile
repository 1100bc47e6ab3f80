# make test   everything that continuous integration checks
# make demo   deploy the example network to Loihi 2 and prove the result
#
# Both make their own environment (.ci/environment); PYTHON=/path/to/python chooses the interpreter.

PYTHON =

.PHONY: test demo clean

test:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); PATH=$$bin:$$PATH; export PATH; set -x; \
	ruff check .; \
	mypy; \
	lint-imports; \
	python -m pytest -n 2; \
	rm -rf build dist; \
	python -m build --wheel --no-isolation; \
	check-wheel-contents dist

demo:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); set -x; \
	"$$bin/nmap" deploy examples/digits/net.h5 --target loihi2 --input examples/digits/samples.npz -o .demo/digits

clean:
	rm -rf .venv-* .demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
