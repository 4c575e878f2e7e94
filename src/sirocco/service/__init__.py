"""The use cases of the platform, without HTTP: who may run what, and on which engine.

An answer is asked for by `Service.run`, wherever the caller is: the REST surface is one of them.
"""
