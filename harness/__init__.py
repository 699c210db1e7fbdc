"""The harness: from a spec to figures and a decision. `import assay` hands on the public interface."""
