# make test   everything that continuous integration checks
# make demo   deploy the example network to Loihi 2 and prove the result
# make truenorth-demo   deploy three example networks to TrueNorth and prove the results
# make spinnaker-demo   deploy three example networks to SpiNNaker 1 and SpiNNaker 2 and prove the results
# make akida-demo   deploy four example networks to Akida and prove the results
# make test-frameworks   run docs/export.md's recipes in the frameworks themselves (needs Python 3.11, and 3.10 for lava-dl; about 11 GB)
# make test-akida   compare the emulated Akida with the vendor's package, where NMAP_AKIDA_PYTHON names a Python that has it
#
# Each makes its own environment (.ci/environment); PYTHON=/path/to/python chooses the interpreter.

PYTHON =

.PHONY: test demo truenorth-demo spinnaker-demo akida-demo test-frameworks test-akida clean

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

truenorth-demo:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); set -x; \
	for name in digits conv recurrent; do \
		"$$bin/nmap" deploy examples/truenorth_digits/$$name.nir --target truenorth \
			--input examples/truenorth_digits/$$name.npz -o .demo/truenorth_$$name; \
	done

spinnaker-demo:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); set -x; \
	for name in rate latency rows; do \
		for target in spinnaker1 spinnaker2; do \
			"$$bin/nmap" deploy examples/spinnaker_digits/$$name.nir --target $$target \
				--input examples/spinnaker_digits/$$name.npz -o .demo/$${target}_$$name; \
		done; \
	done

akida-demo:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); set -x; \
	for name in threshold trinary rate conv; do \
		case $$name in trinary) how="--bits 2";; rate) how="--approximate rate";; *) how=;; esac; \
		"$$bin/nmap" deploy examples/akida_digits/$$name.nir --target akida $$how \
			--input examples/akida_digits/$$name.npz -o .demo/akida_$$name; \
	done

test-frameworks:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); PATH=$$bin:$$PATH; export PATH; set -x; \
	python -m pytest -s tests/frameworks/check_exports.py

test-akida:
	@set -e; bin=$$(.ci/environment "$(PYTHON)"); PATH=$$bin:$$PATH; export PATH; set -x; \
	NMAP_AKIDA=1 python -m pytest tests/differential/test_akida_package.py

clean:
	rm -rf .venv-* .demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
