"""The adapters: each opens channels of one kind. Imported as bridge.adapters, and by name through the registry.

Rules: an adapter imports only the floors below the runtime (errors, worker, core, contract, channel), takes frozen
values through its constructor, and reads no configuration.
"""
