"it is ${{ a = 1; }}"
