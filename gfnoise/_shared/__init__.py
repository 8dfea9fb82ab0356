"""What public functions and kernels both go by: the field's law, the order of modes, fixed numbers.

It is all of the package that kernels are made of, so that machine code is made anew for no other.
"""
