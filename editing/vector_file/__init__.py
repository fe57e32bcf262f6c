"""The file format of task vectors: encoding of tensors, and reading of untrusted files.

A task vector is one safetensors file. Its metadata contains a JSON record. Its tensors are the
differences, each in the smallest of these encodings:

    whole/NAME                     float32; vectors and scalars: norms, biases
    codes/NAME, scale/NAME         int8 of the tensor's shape, and a float32 for each row
    nibbles/NAME, scale/NAME       the same, with two codes from -7 to 7 in each byte, plus 8, the
                                   first in the lower four bits; an odd number of codes is followed by 0
    mask/NAME, codes or nibbles/NAME, scale/NAME
                                   a bit for each entry (most significant first), and codes for
                                   those that are not zero
    (none)                         all entries are zero; the record has the shape

A value is its code times the scale of its row (the first axis). With int8, the largest entry of a
row is therefore exact, and the error of the others is at most 1/254 of it. Nibbles are used only
for a tensor that has such values already: fine-tuning rounds its vector with `encoding.rounded`.
Encoding a decoded tensor changes nothing. The format version is 2 if there are nibbles, otherwise 1.
"""
